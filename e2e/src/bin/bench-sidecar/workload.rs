//! What the clients of an API server write, the same for every database: leases that are renewed, pods whose status
//! changes, events that come and go, and many objects that nobody touches.

use std::collections::VecDeque;

use crate::database::Database;

/// Where an object stands in kine.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// Of its last write.
    pub(crate) revision: i64,
    /// Of its first.
    pub(crate) created: i64,
}

/// What a write does to its key.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Create,
    Update(Before),
    Delete(Before),
}

/// One write of a client.
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) change: Change,
    /// Empty for a deletion.
    pub(crate) value: Vec<u8>,
}

/// Decides what is written next. One write at a time: each is acknowledged or lost before the next.
#[derive(Clone)]
pub(crate) struct Workload {
    random: Random,
    turn: u64,
    made: u64,
    leases: VecDeque<Object>,
    pods: VecDeque<Object>,
    events: VecDeque<Object>,
    /// What was given out last.
    asked: Option<(Kind, Object)>,
}

#[derive(Clone)]
struct Object {
    key: String,
    seed: u64,
    before: Option<Before>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lease,
    Pod,
    Event,
    /// Written once, then never touched again.
    Gone,
}

const LEASES: usize = 40;
const PODS: usize = 300;
const LEASE_BYTES: usize = 350;
const POD_BYTES: usize = 2500;
const EVENT_BYTES: usize = 900;
/// What nobody touches has about this size.
const OTHER_BYTES: usize = 3000;

impl Workload {
    /// Fills a database until it has this size.
    pub(crate) fn fill(database: &Database, bytes: u64) -> Self {
        let mut all = Self {
            random: Random(20_261_125),
            turn: 0,
            made: 0,
            leases: VecDeque::new(),
            pods: VecDeque::new(),
            events: VecDeque::new(),
            asked: None,
        };
        // An event lives for an hour; a smaller database has had fewer.
        let events = usize::try_from(bytes / 10 / EVENT_BYTES as u64).unwrap_or(0).clamp(50, 7200);
        for (kind, count) in [(Kind::Lease, LEASES), (Kind::Pod, PODS), (Kind::Event, events)] {
            for _ in 0..count {
                all.create(kind, database);
            }
        }
        while database.bytes() < bytes {
            all.create(Kind::Gone, database);
        }
        all
    }

    fn create(&mut self, kind: Kind, database: &Database) {
        let object = self.object(kind);
        let value = value(&object, kind, 0);
        let revision = database.write(&Write { key: object.key.clone(), change: Change::Create, value });
        self.asked = Some((kind, object));
        self.acknowledge(revision);
    }

    fn object(&mut self, kind: Kind) -> Object {
        self.made += 1;
        let (seed, n) = (self.random.next(), self.made);
        let key = match kind {
            Kind::Lease => format!("/registry/leases/kube-node-lease/node-{n}"),
            Kind::Pod => format!("/registry/pods/team-{}/web-{:08x}-{n}", n % 17, seed as u32),
            Kind::Event => format!("/registry/events/team-{}/web-{n}.{seed:016x}", n % 17),
            Kind::Gone => format!("/registry/configmaps/team-{}/config-{:08x}-{n}", n % 17, seed as u32),
        };
        Object { key, seed, before: None }
    }

    /// The next write: of twenty, ten leases, six pods, two new events and two that have expired.
    pub(crate) fn next(&mut self) -> Write {
        self.turn += 1;
        let (kind, object) = match self.turn % 20 {
            0 | 10 => (Kind::Event, self.object(Kind::Event)),
            5 | 15 => (Kind::Gone, self.events.pop_front().expect("as many come as go")),
            1 | 11 => (Kind::Lease, self.leases.pop_front().expect("few writes are lost")),
            turn if turn % 2 == 0 => (Kind::Lease, self.leases.pop_front().expect("few writes are lost")),
            _ => {
                let at = self.random.below(self.pods.len());
                (Kind::Pod, self.pods.remove(at).expect("it was counted"))
            }
        };
        let change = match (kind, object.before) {
            (_, None) => Change::Create,
            (Kind::Gone, Some(before)) => Change::Delete(before),
            (_, Some(before)) => Change::Update(before),
        };
        let value = if kind == Kind::Gone { Vec::new() } else { value(&object, kind, self.turn) };
        let write = Write { key: object.key.clone(), change, value };
        self.asked = Some((kind, object));
        write
    }

    /// The last write is acknowledged with this revision.
    pub(crate) fn acknowledge(&mut self, revision: i64) {
        let Some((kind, mut object)) = self.asked.take() else { return };
        let created = object.before.map_or(revision, |before| before.created);
        object.before = Some(Before { revision, created });
        self.put_back(kind, object);
    }

    fn put_back(&mut self, kind: Kind, object: Object) {
        match kind {
            Kind::Lease => self.leases.push_back(object),
            Kind::Pod => self.pods.push_back(object),
            Kind::Event => self.events.push_back(object),
            Kind::Gone => {}
        }
    }
}

/// Half of it the words of a manifest, half of it what differs between two objects; the `turn` shows in a few fields of
/// its status, as in a pod or a lease.
fn value(object: &Object, kind: Kind, turn: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "\"apiVersion\":\"v1\",\"fieldsType\":\"FieldsV1\",\"manager\":\"kube-controller-manager\",",
        "\"f:metadata\":{\"f:labels\":{\".\":{},\"f:app.kubernetes.io/name\":{},\"f:pod-template-hash\":{}}},",
        "\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\",",
        "\"imagePullPolicy\":\"IfNotPresent\",\"restartPolicy\":\"Always\",\"dnsPolicy\":\"ClusterFirst\",",
        "\"securityContext\":{\"allowPrivilegeEscalation\":false,\"readOnlyRootFilesystem\":true},",
        "\"volumeMounts\":[{\"name\":\"kube-api-access\",\"readOnly\":true}],",
        "\"resources\":{\"limits\":{\"memory\":\"256Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"128Mi\"}},",
        "\"tolerations\":[{\"effect\":\"NoExecute\",\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\"}],",
        "\"livenessProbe\":{\"failureThreshold\":3,\"httpGet\":{\"path\":\"/healthz\",\"port\":8080}},",
        "\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"blockOwnerDeletion\":true,\"controller\":true}],",
        "\"conditions\":[{\"lastProbeTime\":null,\"status\":\"True\",\"type\":\"PodScheduled\"}],",
        "\"env\":[{\"name\":\"DATABASE_HOST\",\"value\":\"postgres.team.svc.cluster.local\"}],",
        "\"serviceAccountName\":\"default\",\"schedulerName\":\"default-scheduler\",\"priority\":0,",
        "\"containerStatuses\":[{\"ready\":true,\"restartCount\":0,\"started\":true,\"state\":{\"running\":{}}}],",
        "\"affinity\":{\"podAntiAffinity\":{\"preferredDuringSchedulingIgnoredDuringExecution\":[]}},",
        "\"labels\":{\"app.kubernetes.io/managed-by\":\"Helm\",\"app.kubernetes.io/part-of\":\"shop\"},",
    ];
    let mut random = Random(object.seed);
    let size = match kind {
        Kind::Lease => LEASE_BYTES,
        Kind::Pod => POD_BYTES,
        Kind::Event => EVENT_BYTES,
        Kind::Gone => OTHER_BYTES / 2 + random.below(OTHER_BYTES),
    };
    let mut bytes = format!("k8s\0{{\"name\":\"{}\",\"uid\":\"{:016x}\",", object.key, random.next()).into_bytes();
    while bytes.len() < size {
        bytes.extend_from_slice(WORDS[random.below(WORDS.len())].as_bytes());
        for _ in 0..random.below(6) {
            bytes.extend_from_slice(format!("{:016x}", random.next()).as_bytes());
        }
    }
    bytes.truncate(size);
    let mut of_turn = Random(object.seed ^ turn);
    bytes.extend_from_slice(format!("\"renewTime\":\"{turn:016}\",\"id\":\"{:016x}\"}}", of_turn.next()).as_bytes());
    bytes
}

/// SplitMix64: the same numbers on every machine.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}
