//! The control socket: `vcluster-backup backup` in the pod asks the running sidecar, which holds the database open and
//! knows the chain, instead of starting a second writer.
//!
//! `control.sock` in the spool folder, 0600, and both sides look who the other is: a spool folder may be /tmp. One line
//! of JSON in, one line out.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

use vcluster_proto::status::Point;

use crate::{backup::Place, error::Error};

/// The socket's name in the spool folder.
pub const SOCKET: &str = "control.sock";

/// Both lines are far shorter.
const LINE_BYTES: u64 = 1 << 16;
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Questions that wait for the loop to come round.
const WAITING: usize = 16;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// `backup`, and nothing else yet.
    pub command: String,
    /// Whose database is meant.
    pub data_dir: PathBuf,
    /// The store that was named beside the command; none: the sidecar's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// 0, or the exit code of the same failure of a command.
    pub code: u8,
    /// A sentence, of a failure.
    pub message: String,
    /// The newest backup.
    pub id: String,
    /// `full`, `diff` or `delta`.
    pub kind: String,
    /// Ciphertext.
    pub size_bytes: u64,
    /// The highest kine revision in it.
    pub revision: i64,
    /// That backup was made before: nothing has changed since.
    pub unchanged: bool,
}

impl Answer {
    /// The newest backup.
    #[must_use]
    pub fn of_backup(newest: &Point, unchanged: bool) -> Self {
        Self {
            id: newest.id.clone(),
            kind: newest.kind.clone(),
            size_bytes: newest.size_bytes,
            revision: newest.revision,
            unchanged,
            ..Self::default()
        }
    }

    /// Why it was not done.
    #[must_use]
    pub fn refusal(error: &Error) -> Self {
        Self { code: error.exit_code(), message: error.chain(), ..Self::default() }
    }
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    reply: oneshot::Sender<Answer>,
}

impl Ask {
    /// Answers; whoever asked may have gone away.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// The open socket; its name goes with it.
#[derive(Debug)]
pub struct Control {
    questions: mpsc::Receiver<Ask>,
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Opens the socket in the spool folder; a dead one that is left there is removed.
    ///
    /// # Errors
    /// A sentence: somebody else listens there, or the folder cannot be written.
    pub async fn open(spool_dir: &Path) -> Result<Self, String> {
        let path = spool_dir.join(SOCKET);
        let failed = |e: std::io::Error| format!("cannot listen on {}: {e}", path.display());
        if UnixStream::connect(&path).await.is_ok() {
            return Err(format!("cannot listen on {}: another vcluster-backup does", path.display()));
        }
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        let (sender, questions) = mpsc::channel(WAITING);
        let task = tokio::spawn(accept(listener, sender));
        Ok(Self { questions, path, task })
    }

    /// The next question.
    pub async fn next(&mut self) -> Option<Ask> {
        self.questions.recv().await
    }

    /// The next question, if it is there already.
    pub fn ready(&mut self) -> Option<Ask> {
        self.questions.try_recv().ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, questions: mpsc::Sender<Ask>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(talk(stream, questions.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// One question and its answer. Whoever is not this program's own user gets none.
async fn talk(stream: UnixStream, questions: mpsc::Sender<Ask>) -> Option<()> {
    if !is_own(&stream) {
        return None;
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LINE_BYTES));
    tokio::time::timeout(ASK_WITHIN, reader.read_line(&mut line)).await.ok()?.ok()?;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => {
            let (reply, answer) = oneshot::channel();
            questions.send(Ask { question, reply }).await.ok()?;
            answer.await.ok()?
        }
        Err(error) => Answer::refusal(&Error::Usage(format!("the question cannot be understood: {error}"))),
    };
    let mut text = serde_json::to_string(&answer).ok()?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await.ok()
}

/// Whether the other side runs as the same user, or as root.
fn is_own(stream: &UnixStream) -> bool {
    let other = stream.peer_cred().map(|peer| peer.uid());
    let own = Path::new("/proc/self").metadata().map(|own| own.uid());
    matches!((other, own), (Ok(other), Ok(own)) if other == own || other == 0)
}

/// Asks the sidecar that runs on this data directory for a backup now; nothing if none listens.
///
/// # Errors
/// It was told to stop meanwhile.
pub async fn ask(place: &Place, store: Option<&str>) -> Result<Option<Answer>, Error> {
    let gone = || Error::Sidecar { code: 1, message: "the running sidecar has stopped without an answer".into() };
    let Ok(mut stream) = UnixStream::connect(place.spool_dir.join(SOCKET)).await else { return Ok(None) };
    if !is_own(&stream) {
        return Ok(None);
    }
    let question =
        Question { command: "backup".into(), data_dir: canonical(&place.data_dir), store: store.map(str::to_owned) };
    let mut text = serde_json::to_string(&question).map_err(|_| gone())?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await.map_err(|_| gone())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES)).read_line(&mut line).await.map_err(|_| gone())?;
    serde_json::from_str(&line).map(Some).map_err(|_| gone())
}

/// Why a question cannot be answered by a sidecar of this data directory and store.
///
/// # Errors
/// It means another database or store, or something this version does not know.
pub fn check(question: &Question, data_dir: &Path, store: &str) -> Result<(), Error> {
    let refused = |message: String| Err(Error::Sidecar { code: 2, message });
    if question.command != "backup" {
        return refused(format!("the running sidecar does not know {:?}; it is of another version", question.command));
    }
    let own = canonical(data_dir);
    if question.data_dir != own {
        let (asked, own) = (question.data_dir.display(), own.display());
        return refused(format!("the sidecar that listens here backs up {own}, not {asked}; name its own --spool-dir"));
    }
    match &question.store {
        Some(asked) if asked != store => refused(format!(
            "the running sidecar backs up to {store}, not to {asked}; leave --store out, or stop it first"
        )),
        _ => Ok(()),
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place { data_dir: dir.to_owned(), spool_dir: dir.to_owned() }
    }

    #[tokio::test]
    async fn a_question_gets_the_answer_of_the_loop() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(ask(&place(dir.path()), None).await.expect("nobody listens"), None);
        let mut control = Control::open(dir.path()).await.expect("opens");
        let mode = dir.path().join(SOCKET).metadata().expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        let asked = place(dir.path());
        let client = tokio::spawn(async move { ask(&asked, Some("file:///s")).await });
        let question = control.next().await.expect("a question");
        assert_eq!(question.question.store.as_deref(), Some("file:///s"));
        let answer = Answer { id: "g/1".into(), ..Answer::default() };
        question.answer(answer.clone());
        assert_eq!(client.await.expect("joins").expect("an answer"), Some(answer));
        // A second listener leaves the first alone; a dead one's name is taken over.
        assert!(Control::open(dir.path()).await.is_err());
        drop(control);
        assert!(!dir.path().join(SOCKET).exists());
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).expect("binds"));
        assert!(Control::open(dir.path()).await.is_ok());
    }

    #[tokio::test]
    async fn a_loop_that_ends_leaves_nobody_waiting_and_nonsense_is_answered() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut control = Control::open(dir.path()).await.expect("opens");
        let asked = place(dir.path());
        let client = tokio::spawn(async move { ask(&asked, None).await });
        drop(control.next().await.expect("a question"));
        let error = client.await.expect("joins").expect_err("no answer");
        assert_eq!(error.exit_code(), 1);
        let mut stream = UnixStream::connect(dir.path().join(SOCKET)).await.expect("connects");
        stream.write_all(b"open sesame\n").await.expect("written");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.expect("an answer");
        assert!(line.contains("cannot be understood"), "{line}");
    }

    #[test]
    fn a_question_about_another_database_or_store_is_refused() {
        let question = |command: &str, data_dir: &str, store: Option<&str>| Question {
            command: command.into(),
            data_dir: data_dir.into(),
            store: store.map(str::to_owned),
        };
        let check = |question: &Question| check(question, Path::new("/nonexistent/data"), "file:///own");
        assert!(check(&question("backup", "/nonexistent/data", None)).is_ok());
        assert!(check(&question("backup", "/nonexistent/data", Some("file:///own"))).is_ok());
        for other in [
            question("erase", "/nonexistent/data", None),
            question("backup", "/nonexistent/other", None),
            question("backup", "/nonexistent/data", Some("file:///other")),
        ] {
            assert_eq!(check(&other).expect_err("refused").exit_code(), 2, "{other:?}");
        }
    }
}
