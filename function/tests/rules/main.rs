//! What must hold for every answer: the rules of the function protocol, and those that keep data and clusters safe.

mod access;
mod adopt;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod doubt;
mod environment;
mod health;
mod namespaced;
mod protocol;
mod rancher;
mod restarts;
mod restores;
mod usages;
mod values;
mod versions;
