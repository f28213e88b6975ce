//! The world of one seed: databases, clients, people, and the lives of the engine one after the other.

use std::cell::RefCell;
use std::sync::Arc;

use sluice_kit::Rng;
use sluice_kit::Statement;
use sluice_kit::memory::{Backup, Database, Promotions, State};
use sluice_pipeline::{Ended, LineHandle, Ports, Until, delete_line};
use sluice_types::ErrorKind;
use sluice_types::ports::SpillRoom;
use tokio::time::{Duration, sleep};

use crate::chaos::Chaos;
use crate::judge::{AtSource, AtTarget, Judge, trace};
use crate::life::{Death, live};
use crate::plan::{Plan, pipeline};
use crate::sabotage::Sabotage;
use crate::workload::Workload;
use crate::{Report, Violation};

/// Everything that outlives the engine.
pub struct World {
    pub source: Database,
    pub target: Database,
    pub state: State,
    pub promotions: Promotions,
    pub plan: Plan,
    pub sabotage: Option<Sabotage>,
    judge: Arc<Judge>,
    rng: RefCell<Rng>,
    workload: RefCell<Workload>,
    deeds_left: RefCell<u64>,
    copy: RefCell<Option<Backup>>,
    /// Capture was taken away for DDL once. A target put back to before that is not tried: its checkpoint does not know that
    /// the table was read anew, and positions alone don't tell the source of the hole. Known and open (I12).
    detached: RefCell<bool>,
}

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let (source, target) = (Database::new(plan.source.clone()), Database::new(plan.target.clone()));
        let state = State::new("simulated");
        let judge = Judge::new(source.clone(), state.clone(), &plan.spec, plan.steps.clone());
        let workload = Workload::new(&plan, rng.fork());
        World {
            source,
            target,
            state,
            promotions: Promotions::default(),
            sabotage,
            judge,
            rng: RefCell::new(rng.fork()),
            workload: RefCell::new(workload),
            deeds_left: RefCell::new(plan.deeds),
            copy: RefCell::default(),
            detached: RefCell::default(),
            plan,
        }
    }

    /// Runs the seed to its end.
    pub async fn run(self) -> Result<Report, Violation> {
        trace(|| {
            let Plan { source, spec, target, .. } = &self.plan;
            format!("{source:?}\n{target:?}\n{spec:?}")
        });
        self.workload.borrow_mut().set_up(&self.source);
        for def in &self.plan.targets {
            let made = self.target.run(&[Statement::CreateTable(def.clone())]);
            made.map_err(|error| Violation { rule: "setup", what: error.to_string() })?;
        }
        self.promotions.promote(1);
        self.source.observe(Arc::new(AtSource(self.judge.clone())));
        self.target.observe(Arc::new(AtTarget(self.judge.clone())));
        for remaining in (0..=self.plan.crashes).rev() {
            self.hard_life(remaining).await;
            self.verdict()?;
        }
        self.good_life().await;
        self.verdict()?;
        self.end().await;
        self.verdict()?;
        Ok(self.judge.report())
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.judge.violation().map_or(Ok(()), Err)
    }

    /// A life with faults, clients and people, that most often ends with a death.
    async fn hard_life(&self, remaining: u64) {
        let (chaos, dies_at) = {
            let mut rng = self.rng.borrow_mut();
            // Early deaths are as likely as late ones: somewhere below a power of two.
            let most = 1u64 << rng.between(1, 10);
            let moment = rng.between(1, most);
            let (by_call, by_poll) = match rng.below(2) {
                _ if remaining == 0 => (None, None),
                0 => (Some(moment), None),
                _ => (None, Some(moment)),
            };
            (Chaos::new(rng.fork(), self.plan.faults, by_call), by_poll)
        };
        let share = self.workload.borrow().left.div_ceil(remaining + 1);
        trace(|| "a life begins".to_string());
        let death = live(self, &chaos, dies_at, Until::Stopped, |handle| self.meanwhile(handle, share)).await;
        trace(|| format!("it ended: {death:?}"));
        self.judge.count(|report| {
            report.crashes += u64::from(matches!(death, Death::Died));
            report.faults += chaos.faults();
        });
        match death {
            Death::Died | Death::Deserted | Death::Ended(Ended::Stopped) => {}
            Death::Stuck => self.judge.accuse("progress", "the line got stuck".into()),
            Death::Ended(Ended::Done) => self.judge.accuse("progress", "a realtime line ended".into()),
            Death::Ended(Ended::Failed(error)) => {
                self.judge.accuse("progress", format!("the line ended: {error}"))
            }
        }
        // What was not written in a short life is written before the next one.
        let left = self.workload.borrow().left;
        for _ in 0..share.min(left.saturating_sub(left / (remaining + 1) * remaining)) {
            self.write();
        }
    }

    /// A life without faults, to the head.
    async fn good_life(&self) {
        while self.workload.borrow().left > 0 {
            self.write();
        }
        let chaos = Chaos::new(self.rng.borrow_mut().fork(), 0, None);
        let death = live(self, &chaos, None, Until::Head, |_| self.reveal_for_ever()).await;
        match death {
            Death::Ended(Ended::Done) => {}
            other => return self.judge.accuse("progress", format!("the last life ended so: {other:?}")),
        }
        // I11: as if nothing had happened.
        self.judge.compare(&self.target.contents(), self.source.end(), "I11");
        // The target has the constraints of the source, so without poison every event can be applied.
        self.judge.letters(self.plan.poison > 0);
        self.judge.no_conflicts();
        if self.source.log_len() > 0 {
            self.judge.accuse("I1", "what is durable was not confirmed in the end".into());
        }
    }

    /// Deleting the line leaves nothing but the rows.
    async fn end(&self) {
        let ports = Ports {
            source: Arc::new(self.source.clone()),
            target: Arc::new(self.target.clone()),
            state: Arc::new(self.state.clone()),
            clock: sluice_kit::TestClock::start(),
            spill: SpillRoom::new("spill", 0),
        };
        match delete_line(&self.plan.spec, &ports).await {
            Err(error) => self.judge.accuse("delete", error.to_string()),
            Ok(()) if !self.source.is_released() || self.target.checkpoint(&pipeline()).is_some() => {
                self.judge.accuse("delete", "something of the line was left".into());
            }
            Ok(()) => {}
        }
    }

    fn write(&self) {
        self.judge.count(|report| report.transactions += 1);
        self.workload.borrow_mut().write(&self.source);
    }

    /// Commits become visible by and by.
    async fn reveal_for_ever(&self) {
        loop {
            sleep(Duration::from_millis(3)).await;
            self.source.reveal(0);
        }
    }

    /// What clients and people do while the line runs: so many transactions, and a deed now and then.
    async fn meanwhile(&self, handle: LineHandle, transactions: u64) {
        for _ in 0..transactions {
            let pause = { *self.rng.borrow_mut().pick(&[0, 0, 0, 1, 1, 3, 10, 40]) };
            match pause {
                0 => tokio::task::yield_now().await,
                ms => sleep(Duration::from_millis(ms)).await,
            }
            self.write();
            let acts = self.rng.borrow_mut().chance(15);
            if acts && *self.deeds_left.borrow() > 0 {
                *self.deeds_left.borrow_mut() -= 1;
                self.judge.count(|report| report.deeds += 1);
                self.deed(&handle).await;
            }
        }
        for _ in 0..100 {
            sleep(Duration::from_millis(3)).await;
            self.source.reveal(0);
        }
        let unexpected = handle.status().reason.filter(|(code, _)| is_a_pausing_error(code));
        if let Some((code, text)) = unexpected {
            self.judge.accuse("progress", format!("the line is paused: {code}: {text}"));
        }
        handle.stop();
        sleep(Duration::from_secs(60)).await;
    }

    /// Something that people do. What the line answers with an error (its state fails by script) is left so.
    async fn deed(&self, handle: &LineHandle) {
        let (deed, table, all) = {
            let mut rng = self.rng.borrow_mut();
            let table = rng.pick(&self.plan.spec.tables).from.clone();
            (rng.below(10), table, rng.chance(50))
        };
        trace(|| format!("deed {deed} of {table}"));
        match deed {
            0 | 1 => self.promotions.promote(self.promotions.promoted() + 1),
            2 => {
                drop(handle.pause("somebody wants it so").await);
                self.write();
                sleep(Duration::from_millis(5)).await;
                drop(handle.resume().await);
            }
            3 => {
                *self.detached.borrow_mut() = true;
                drop(handle.pause_for_ddl(vec![table]).await);
                self.write();
                drop(handle.resume().await);
            }
            4 => drop(handle.resnapshot(if all { vec![] } else { vec![table] }).await),
            5 => self.source.interrupt(),
            6 => self.target.interrupt(),
            7 => {
                // I12: what the line has not confirmed is gone.
                self.source.purge_log();
                if all {
                    self.source.interrupt();
                }
            }
            _ => self.back_up_or_restore(),
        }
    }

    fn back_up_or_restore(&self) {
        if *self.detached.borrow() {
            return;
        }
        let copy = self.copy.borrow_mut().take();
        match copy {
            None => *self.copy.borrow_mut() = Some(self.target.backup()),
            Some(copy) => {
                // I12: the target is an older one now.
                self.target.restore(&copy);
                self.judge.restored(self.target.checkpoint(&pipeline()));
            }
        }
    }
}

/// Errors for which a line waits for a person: none of these is due in the simulation.
fn is_a_pausing_error(code: &str) -> bool {
    use sluice_types::Disposition::{Pause, Stop};
    let kind = ErrorKind::ALL.iter().find(|kind| kind.code() == code);
    kind.is_some_and(|kind| matches!(kind.disposition(), Pause | Stop))
}
