//! Sessions that are kept for the next who needs one for a short time: `check`, the list of tables, a look at a slot. A line that runs
//! has sessions of its own for as long as it lives, and one for each chunk that it reads at once.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sluice_types::{Error, ErrorKind, Result, Settings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout};

use crate::config::{Server, number};
use crate::connection::Session;
use crate::session::Role;

const MIN: u64 = 0;
const MAX: u64 = 10;
const IDLE_SECS: u64 = 1800;
const LIFETIME_SECS: u64 = 3600;
/// An idle session is looked at after so long at the latest.
const SWEEP_MAX: Duration = Duration::from_secs(3600);

/// How many sessions, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolLimits {
    /// So many idle ones are kept however long they are idle.
    pub min: usize,
    /// So many are in use at most, aside from those that a running line has for itself.
    pub max: usize,
    /// An idle one is closed after so long.
    pub idle: Duration,
    /// None is used again after so long.
    pub lifetime: Duration,
    /// Whether one is asked whether it is alive before it is used again.
    pub check: bool,
}

impl PoolLimits {
    /// Reads `pool`.
    pub fn take(settings: &mut Settings) -> Option<Self> {
        let mut own = settings.take_settings("pool").unwrap_or_else(|| Settings::new("", Json::Null));
        let mut good = true;
        let min_there = own.has("min");
        let min = own.take_number("min", 0);
        good &= min.is_some() || !min_there;
        let max = number(&mut own, "max", MAX, &mut good);
        let idle = number(&mut own, "idle_secs", IDLE_SECS, &mut good);
        let lifetime = number(&mut own, "lifetime_secs", LIFETIME_SECS, &mut good);
        let check_there = own.has("check");
        let check = own.take_bool("check");
        good &= check.is_some() || !check_there;
        let min = min.unwrap_or(MIN);
        if min > max {
            own.reject("min", "`min` is above `max`", format!("{max} or less"));
            good = false;
        }
        settings.absorb(own);
        good.then_some(PoolLimits {
            min: min as usize,
            max: max.min(10_000) as usize,
            idle: Duration::from_secs(idle),
            lifetime: Duration::from_secs(lifetime),
            check: check.unwrap_or(true),
        })
    }

    /// The JSON Schema of `pool`.
    pub fn settings_schema() -> Json {
        let whole = |least: u64, default: u64, what: &str| json!({ "type": "integer", "minimum": least, "default": default, "description": what });
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "min": whole(0, MIN, "So many idle connections are kept however long they are idle."),
                "max": whole(1, MAX, "So many connections may be in use at once by `check`, for the list of tables and to look at slots. \
                               A pipeline that runs has its own beside these: as a source up to four, and one for each chunk of a \
                               snapshot that is read at once (`concurrency`, but not more than `max`); as a target one."),
                "idle_secs": whole(1, IDLE_SECS, "An idle connection is closed after so long."),
                "lifetime_secs": whole(1, LIFETIME_SECS, "No connection is used again after so long."),
                "check": { "type": "boolean", "default": true, "description": "Ask a connection whether it is alive before it is used again." }
            }
        })
    }
}

/// The sessions of one database and role.
pub(crate) struct Pool {
    server: Arc<Server>,
    role: Role,
    permits: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The longest idle first.
    idle: Vec<Idle>,
    /// Somebody closes them when their time has come.
    swept: bool,
}

struct Idle {
    session: Session,
    made: Instant,
    since: Instant,
}

/// A session in use. It goes back only by [`Pooled::give_back`]; dropped it is closed, for nobody knows in which state it is.
pub(crate) struct Pooled {
    session: Session,
    made: Instant,
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

impl Deref for Pooled {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Pool {
    /// Makes no connection yet. `permits` may be shared by several pools of one database.
    pub fn new(server: Arc<Server>, role: Role, permits: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Pool { server, role, permits, kept: Mutex::default() })
    }

    /// A session: an idle one that is alive, or a new one. Waits for one of `pool.max`, but not forever.
    pub async fn get(self: &Arc<Self>) -> Result<Pooled> {
        let waited = timeout(self.server.connect_timeout, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = waited else {
            let what = format!("all {} connections of the pool are in use", self.server.pool.max);
            let error = Error::new(ErrorKind::Busy, what).remedy("Raise `pool.max`");
            return Err(self.server.at(error));
        };
        while let Some(Idle { session, made, .. }) = self.take_idle() {
            if !self.server.pool.check || self.is_alive(&session).await {
                return Ok(Pooled { session, made, pool: self.clone(), permit });
            }
        }
        let session = self.server.connect(self.role).await?;
        Ok(Pooled { session, made: Instant::now(), pool: self.clone(), permit })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut kept = self.kept();
        kept.close_old(&self.server.pool);
        kept.idle.pop()
    }

    /// Closes what has been kept for long enough. When to come again; never, if nothing is kept any more.
    fn sweep(&self) -> Option<Instant> {
        let limits = &self.server.pool;
        let mut kept = self.kept();
        kept.close_old(limits);
        kept.swept = !kept.idle.is_empty();
        let too_old = kept.idle.iter().filter_map(|one| one.made.checked_add(limits.lifetime));
        let idle = kept.idle.first().filter(|_| kept.idle.len() > limits.min);
        let too_idle = idle.and_then(|one| one.since.checked_add(limits.idle));
        let next = too_old.chain(too_idle).chain([Instant::now() + SWEEP_MAX]).min();
        next.filter(|_| kept.swept)
    }

    async fn is_alive(&self, session: &Session) -> bool {
        matches!(timeout(self.server.connect_timeout, session.simple_query("")).await, Ok(Ok(_)))
    }
}

impl Pooled {
    /// Gives a session back that is outside of a transaction, its settings as they were.
    pub fn give_back(self) {
        let Pooled { session, made, pool, permit } = self;
        if !session.is_closed() && made.elapsed() < pool.server.pool.lifetime {
            let mut kept = pool.kept();
            kept.idle.push(Idle { session, made, since: Instant::now() });
            if !std::mem::replace(&mut kept.swept, true) {
                tokio::spawn(sweep(Arc::downgrade(&pool)));
            }
        }
        drop(permit);
    }
}

impl Kept {
    fn close_old(&mut self, limits: &PoolLimits) {
        self.idle.retain(|one| !one.session.is_closed() && one.made.elapsed() < limits.lifetime);
        // But for the few that may stay.
        let is_idle = |one: &Idle| one.since.elapsed() >= limits.idle;
        while self.idle.len() > limits.min && self.idle.first().is_some_and(is_idle) {
            self.idle.remove(0);
        }
    }
}

/// Closes idle sessions in time, whether or not anybody asks for one again. Ends when none is left, and with the pool.
async fn sweep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.sweep()) {
        sleep_until(next.into()).await;
    }
}
