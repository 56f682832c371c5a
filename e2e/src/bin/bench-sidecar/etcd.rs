//! kine's etcd interface, as far as an API server writes through it. The numbers of the fields are etcd's.

use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::workload::{Change, Write};

/// A connection to kine.
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self { grpc: Grpc::new(endpoint.connect().await.expect("kine listens")) }
    }

    /// Gives the revision of the write once kine has acknowledged it.
    pub(crate) async fn write(&mut self, write: &Write) -> Result<i64, Status> {
        let answer = self.transact(Transaction::of(write)).await?;
        if !answer.succeeded {
            return Err(Status::aborted(format!("{} has another revision than was acknowledged", write.key)));
        }
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    async fn transact(&mut self, transaction: Transaction) -> Result<Answer, Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Txn");
        let codec = ProstCodec::default();
        Ok(self.grpc.unary(Request::new(transaction), path, codec).await?.into_inner())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Transaction {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
    #[prost(message, repeated, tag = "3")]
    failure: Vec<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Compare {
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Operation {
    #[prost(message, optional, tag = "1")]
    range: Option<Key>,
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
    #[prost(message, optional, tag = "3")]
    delete: Option<Key>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

impl Transaction {
    /// kine knows the transactions of an API server by their shape and refuses all others.
    fn of(write: &Write) -> Self {
        const MOD: i32 = 2;
        let key = || write.key.clone().into_bytes();
        let compare = |revision| vec![Compare { target: MOD, key: key(), mod_revision: Some(revision) }];
        let put = || Operation { put: Some(Put { key: key(), value: write.value.clone() }), ..Operation::default() };
        let range = || vec![Operation { range: Some(Key { key: key() }), ..Operation::default() }];
        match write.change {
            Change::Create => Self { compare: compare(0), success: vec![put()], failure: Vec::new() },
            Change::Update(before) => {
                Self { compare: compare(before.revision), success: vec![put()], failure: range() }
            }
            Change::Delete(before) => {
                let delete = Operation { delete: Some(Key { key: key() }), ..Operation::default() };
                Self { compare: compare(before.revision), success: vec![delete], failure: range() }
            }
        }
    }
}
