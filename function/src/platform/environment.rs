//! What an earlier step has read of EnvironmentConfigs: one key of it is the platform's, under the input. Pure.
//!
//! One environment serves many Compositions, so nothing else of it is looked at.

use serde_json::Value;

use crate::{error::Refusal, overlay::lay_over};

/// Where steps that read EnvironmentConfigs leave them in the pipeline's context.
pub const ENVIRONMENT: &str = "apiextensions.crossplane.io/environment";
/// The key of it that is a Platform, or a part of one.
pub const PART: &str = "vclusterPlatform";

/// Lays the input over the environment's part of a Platform: what both say, the input says.
///
/// # Errors
/// A part that is no map.
pub fn under(input: Value, environment: Option<&Value>) -> Result<Value, Refusal> {
    match environment.and_then(|environment| environment.get(PART)) {
        None | Some(Value::Null) => Ok(input),
        // What the input is, decides the input: another kind is refused with its own sentence.
        Some(_) if !input.is_object() => Ok(input),
        Some(Value::Object(part)) => {
            let mut platform = Value::Object(part.clone());
            lay_over(&mut platform, input);
            Ok(platform)
        }
        Some(_) => {
            let problem = "not a map; write the fields of the Platform below it";
            Err(Refusal::field(format!("environment.{PART}"), problem))
        }
    }
}
