//! The messages of the contract as they are on the wire, numbered like the SDK's, except that no `Struct` is opened.
//! What the function never looks at (credentials) is not read at all.

use std::collections::BTreeMap;

use function_sdk_rust::proto::v1::{Condition, Ready, RequestMeta, Requirements, ResponseMeta, Result};

use super::structs::RawStruct;

/// `RunFunctionRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Which request it is.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<RequestMeta>,
    /// What is there.
    #[prost(message, optional, tag = "2")]
    pub observed: Option<State>,
    /// What earlier steps desire.
    #[prost(message, optional, tag = "3")]
    pub desired: Option<State>,
    /// The step's input: the Platform.
    #[prost(message, optional, tag = "4")]
    pub input: Option<RawStruct>,
    /// What earlier steps hand on.
    #[prost(message, optional, tag = "5")]
    pub context: Option<RawStruct>,
    /// Objects that were asked for, as cores before 2.0 hand them over.
    #[prost(btree_map = "string, message", tag = "6")]
    pub extra_resources: BTreeMap<String, Resources>,
    /// The same from 2.0 on.
    #[prost(btree_map = "string, message", tag = "8")]
    pub required_resources: BTreeMap<String, Resources>,
}

/// `RunFunctionResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Which request it answers, and how long it holds.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<ResponseMeta>,
    /// What is desired, earlier steps included.
    #[prost(message, optional, tag = "2")]
    pub desired: Option<State>,
    /// What people are told; a fatal one stops everything.
    #[prost(message, repeated, tag = "3")]
    pub results: Vec<Result>,
    /// What is handed on.
    #[prost(message, optional, tag = "4")]
    pub context: Option<RawStruct>,
    /// Which objects are to be handed over.
    #[prost(message, optional, tag = "5")]
    pub requirements: Option<Requirements>,
    /// Conditions of XR and claim.
    #[prost(message, repeated, tag = "6")]
    pub conditions: Vec<Condition>,
}

/// `State`: an XR and its composed resources.
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// The XR.
    #[prost(message, optional, tag = "1")]
    pub composite: Option<Resource>,
    /// Composed resources by their pipeline name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub resources: BTreeMap<String, Resource>,
}

/// `Resource`: an object and what Crossplane knows beside it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// The object.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<RawStruct>,
    /// Its connection details. Secret.
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub connection_details: BTreeMap<String, Vec<u8>>,
    /// Whether it counts as ready; of desired ones alone.
    #[prost(enumeration = "Ready", tag = "3")]
    pub ready: i32,
}

/// `Resources`: objects that were asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resources {
    /// The objects.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Resource>,
}
