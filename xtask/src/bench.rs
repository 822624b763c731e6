//! `cargo xtask bench`: what the service costs, each figure a ratio to or taken beside something known.
//!
//! `docs/benchmarks.md` says how to read it.

mod cluster;
mod figures;
mod http;
mod indicators;
mod lateness;
mod load;
mod plots;
mod sessions;
mod start;
mod town;
mod usage;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::ValueEnum;

use self::figures::Figures;
use crate::root;
use crate::service::{Built, Programs, say};

/// Measures the service, and writes `figures.json` and plots to `target/bench`.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Only check that each row can be produced, in the development build: its figures say nothing.
    #[arg(long)]
    smoke: bool,

    /// How often what is compared is measured, in turns.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// How many sessions there are; may be given more than once.
    #[arg(long, value_name = "N", default_values = ["1", "100", "1000", "5000"])]
    sessions: Vec<usize>,

    /// How many sessions three nodes have while it is counted what they ask the database; may be given more than once.
    #[arg(long, value_name = "N", default_values = ["1000", "10000"])]
    cluster_sessions: Vec<usize>,

    /// How many people have written to each session, and a quarter as many groups.
    #[arg(long, value_name = "N", default_value = "200")]
    people: usize,

    /// Measure only this; may be given more than once.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests, beside servers that only parse and answer.
    Http,
    /// The indicators without a server.
    Indicators,
    /// How late indicators end.
    Lateness,
    /// What idle sessions hold.
    Sessions,
    /// How fast the service starts, and how large it is.
    Start,
    /// Many nodes. It needs PostgreSQL.
    Cluster,
}

/// What the parts need.
struct Bencher {
    programs: Programs,
    helper: PathBuf,
    rounds: usize,
    smoke: bool,
    sessions: Vec<usize>,
    cluster_sessions: Vec<usize>,
    people: usize,
}

impl Bencher {
    /// `full`, or `smoke` where it only has to be possible.
    fn size<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let profile: &[&str] = if self.smoke { &[] } else { &["--release"] };
        let bencher = Bencher {
            programs: Programs::build_with("error", profile)?,
            // By itself: what it depends on must not change with which features the service is built.
            helper: Built::build(&["presence-bench"], profile)?.program("presence-bench")?,
            rounds: if self.smoke { 1 } else { self.rounds.into() },
            smoke: self.smoke,
            sessions: if self.smoke {
                vec![1, 4]
            } else {
                self.sessions.clone()
            },
            cluster_sessions: if self.smoke {
                vec![12]
            } else {
                self.cluster_sessions.clone()
            },
            people: if self.smoke { 4 } else { self.people },
        };
        let began = Instant::now();
        let mut figures = Figures::default();
        let parts: [(Part, Measure); 6] = [
            (Part::Http, http::measure),
            (Part::Indicators, indicators::measure),
            (Part::Lateness, lateness::measure),
            (Part::Sessions, sessions::measure),
            (Part::Start, start::measure),
            (Part::Cluster, cluster::measure),
        ];
        let measured = parts
            .into_iter()
            .filter(|(part, _)| self.only.is_empty() || self.only.contains(part))
            .try_for_each(|(part, measure)| {
                say(format_args!("{part:?} …"));
                measure(&bencher, &mut figures).with_context(|| format!("{part:?}"))
            });
        // What was measured before something failed is worth reading, too.
        say(format_args!("\n{figures}"));
        measured?;
        let directory = root().join("target/bench");
        fs::create_dir_all(&directory)?;
        figures.write(&directory)?;
        plots::draw(&figures, &directory)?;
        say(format_args!(
            "Measured in {:.0} s; {} has the figures and plots.",
            began.elapsed().as_secs_f32(),
            directory.display()
        ));
        Ok(())
    }
}

type Measure = fn(&Bencher, &mut Figures) -> anyhow::Result<()>;
