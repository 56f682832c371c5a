//! What must hold for every answer: the rules of the function protocol, and those that keep data and clusters safe.

#[path = "../common/mod.rs"]
mod common;
mod data;
mod doubt;
mod health;
mod namespaced;
mod protocol;
mod restarts;
mod restores;
mod usages;
