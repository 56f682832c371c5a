//! `function-vcluster manifests`: what a platform team applies, packages or reads, printed from the Rust types.
//!
//! The types are the single source: the XRD, the schema of the pipeline's input and both reference pages say what
//! `Spec`(crate::xr::Spec), `Status`(crate::xr::status::Status) and `Platform`(crate::platform::Platform) say, in
//! the words of their doc comments. `package/` and `docs/` hold printed copies; a test compares them. Pure.
//!
//! * `schema`: from a type to a structural schema, the only form a CRD takes.
//! * `definition`, `composition`, `rights`, `packages`: the manifests.
//! * `reference`: the pages.

mod composition;
mod definition;
mod packages;
mod reference;
mod rights;
mod schema;

use serde_json::Value;

use crate::{error::Error, forms, offline::to_yaml};

/// What to print, and under which names.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What tenants order
    #[arg(value_enum, default_value_t = Tenancy::Claims)]
    pub tenancy: Tenancy,
    /// The API group [default: vcluster.example.org for claims, vcluster.m.example.org for namespaced XRs]
    #[arg(long)]
    pub group: Option<String>,
    /// The kind of the XR [default: XVCluster for claims, VCluster for namespaced XRs]
    #[arg(long)]
    pub kind: Option<String>,
    /// The kind of the claim
    #[arg(long, default_value = "VCluster", value_name = "KIND")]
    pub claim_kind: String,
    /// The name of the Composition [default: PLURAL.GROUP]
    #[arg(long, value_name = "NAME")]
    pub composition: Option<String>,
    /// Where the function's package is
    #[arg(long, default_value = "registry.example.org")]
    pub registry: String,
    /// Only these parts [default: what is to be applied: definition, composition, function, rbac]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<Part>,
}

/// The two ways to order a vcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tenancy {
    /// A claim in the tenant's namespace stands for a cluster-scoped XR: Crossplane 1.14 and later, 2.x included
    Claims,
    /// An XR in the tenant's namespace, without a claim: Crossplane 2.x
    Namespaced,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The CompositeResourceDefinition (XRD)
    #[value(alias = "xrd")]
    Definition,
    /// The Composition with a commented Platform, to be edited
    Composition,
    /// The Function to install
    Function,
    /// Rights of Crossplane and of tenants
    Rbac,
    /// provider-helm, its rights and its configuration
    Provider,
    /// Schema of the pipeline's input, as the function's package carries it
    Input,
    /// Metadata of the function's package
    FunctionPackage,
    /// Metadata of the Configuration package
    Configuration,
    /// Every field of the pipeline's input, as a page
    PlatformReference,
    /// Every field of spec and status, as a page
    XrReference,
}

/// What `kubectl apply` is to be given, in this order.
const APPLIED: [Part; 4] = [Part::Definition, Part::Composition, Part::Function, Part::Rbac];

/// The names everything printed agrees on.
#[derive(Clone, Debug)]
struct Api {
    tenancy: Tenancy,
    group: String,
    /// The XR's.
    kind: String,
    claim_kind: String,
    composition: String,
    registry: String,
}

/// The one version of the XR.
const VERSION: &str = "v1alpha1";

impl Api {
    fn new(args: &Args) -> Result<Self, Error> {
        let claims = args.tenancy == Tenancy::Claims;
        let or = |value: &Option<String>, with_claims: &str, namespaced: &str| {
            value.clone().unwrap_or_else(|| if claims { with_claims } else { namespaced }.to_owned())
        };
        let mut api = Self {
            tenancy: args.tenancy,
            group: or(&args.group, "vcluster.example.org", "vcluster.m.example.org"),
            kind: or(&args.kind, "XVCluster", "VCluster"),
            claim_kind: args.claim_kind.clone(),
            composition: String::new(),
            registry: args.registry.clone(),
        };
        api.composition = args.composition.clone().unwrap_or_else(|| api.name());
        api.check()?;
        Ok(api)
    }

    fn check(&self) -> Result<(), Error> {
        let dots = |group: &str| match group.contains('.') {
            true => forms::object_name(group),
            false => Err(format!("{group:?} has no dot; write it as caas.example.org")),
        };
        argument("--group", dots(&self.group))?;
        argument("--kind", forms::kind(&self.kind))?;
        argument("--claim-kind", forms::kind(&self.claim_kind))?;
        argument("--composition", forms::object_name(&self.composition))?;
        argument("--registry", forms::registry(&self.registry))?;
        if self.claims() && self.kind == self.claim_kind {
            let problem = format!("{:?} is the XR's kind as well; give them two names", self.claim_kind);
            return argument("--claim-kind", Err(problem));
        }
        Ok(())
    }

    fn claims(&self) -> bool {
        self.tenancy == Tenancy::Claims
    }

    /// The kind tenants write.
    fn ordered(&self) -> &str {
        if self.claims() { &self.claim_kind } else { &self.kind }
    }

    /// The XRD's name, which is that of the XR's CRD.
    fn name(&self) -> String {
        format!("{}.{}", plural(&self.kind), self.group)
    }

    fn api_version(&self) -> String {
        format!("{}/{VERSION}", self.group)
    }
}

fn argument(flag: &'static str, checked: Result<(), String>) -> Result<(), Error> {
    checked.map_err(|problem| Error::Document { what: flag, problem })
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_ascii_lowercase())
}

/// The version every package of this build bears.
fn package_version() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

/// Prints what is asked for.
///
/// # Errors
/// A name that Kubernetes would not take.
pub fn print(args: &Args) -> Result<String, Error> {
    let api = Api::new(args)?;
    let parts = if args.only.is_empty() { &APPLIED[..] } else { &args.only };
    let mut text = String::new();
    for part in parts {
        text.push_str(&print_part(&api, *part)?);
    }
    Ok(text)
}

fn print_part(api: &Api, part: Part) -> Result<String, Error> {
    let documents: Vec<Value> = match part {
        Part::Composition => return composition::composition(api),
        Part::PlatformReference => return Ok(reference::platform()),
        Part::XrReference => return Ok(reference::xr()),
        Part::Definition => vec![definition::definition(api)],
        Part::Function => vec![packages::function(api)],
        Part::Rbac => rights::rights(api),
        Part::Provider => rights::provider(api),
        Part::Input => vec![packages::input()],
        Part::FunctionPackage => vec![packages::function_package()],
        Part::Configuration => vec![packages::configuration(api)],
    };
    to_yaml(&documents)
}

#[cfg(test)]
mod tests;
