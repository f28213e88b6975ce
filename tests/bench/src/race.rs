//! A race: contestants who do the same work, one line each, with what it cost whom.

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Seconds on the wall.
    pub wall: f64,
    /// CPU seconds of the program that moves the rows (sluice, psql), none where the servers do it themselves.
    pub engine: f64,
    /// CPU seconds of the source's server.
    pub source: f64,
    /// CPU seconds of the target's server.
    pub target: f64,
    /// Peak resident memory of the program, in MiB.
    pub rss_mib: f64,
}

impl Run {
    /// All CPU seconds.
    pub fn cpu(&self) -> f64 {
        self.engine + self.source + self.target
    }
}

/// A contestant and its runs.
#[derive(Debug)]
pub struct Racer {
    name: &'static str,
    runs: Vec<Run>,
}

impl Racer {
    /// Its fastest run: what else the machine does can only slow it down.
    pub fn best(&self) -> Run {
        self.runs.iter().copied().min_by(|a, b| a.wall.total_cmp(&b.wall)).expect("it has run")
    }

    /// The peak memory of all runs, in MiB.
    pub fn rss_mib(&self) -> f64 {
        self.runs.iter().map(|run| run.rss_mib).fold(0.0, f64::max)
    }
}

/// A race over some rows.
#[derive(Debug)]
pub struct Race {
    title: String,
    rows: f64,
    racers: Vec<Racer>,
}

impl Race {
    /// A race in which every run moves this many rows.
    pub fn new(title: impl Into<String>, rows: u64) -> Self {
        Race { title: title.into(), rows: rows as f64, racers: Vec::new() }
    }

    /// Adds a run.
    pub fn ran(&mut self, name: &'static str, run: Run) {
        let Race { title, .. } = self;
        println!(
            "{title}: {name}: {:.2} s, CPU {:.2} + {:.2} + {:.2} s",
            run.wall, run.engine, run.source, run.target
        );
        match self.racers.iter_mut().find(|racer| racer.name == name) {
            Some(racer) => racer.runs.push(run),
            None => self.racers.push(Racer { name, runs: vec![run] }),
        }
    }

    /// A contestant.
    pub fn racer(&self, name: &str) -> &Racer {
        self.racers.iter().find(|racer| racer.name == name).expect("it has run")
    }

    /// CPU seconds of the engine per million rows, at its best.
    pub fn engine_cpu(&self, name: &str) -> f64 {
        self.racer(name).best().engine / self.rows * 1e6
    }

    /// How fast one is against another: rate against rate.
    pub fn ratio(&self, name: &str, against: &str) -> f64 {
        self.racer(against).best().wall / self.racer(name).best().wall
    }

    /// Prints the lines; ratios are against `against`. The A/A column is the slowest run of a contestant over its fastest: the
    /// noise.
    pub fn print(&self, against: &str) {
        println!(
            "\n{:<44} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>7} {:>6}",
            self.title, "rows/s", "engine", "source", "target", "all CPU", "MiB", "ratio", "A/A"
        );
        for racer in &self.racers {
            let (run, per) = (racer.best(), 1e6 / self.rows);
            let slowest = racer.runs.iter().map(|run| run.wall).fold(0.0, f64::max);
            println!(
                "{:<44} {:>10.0} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>8.0} {:>7.2} {:>6.2}",
                racer.name,
                self.rows / run.wall,
                run.engine * per,
                run.source * per,
                run.target * per,
                run.cpu() * per,
                racer.rss_mib(),
                self.ratio(racer.name, against),
                slowest / run.wall,
            );
        }
        println!("(CPU in seconds per million rows)\n");
    }
}
