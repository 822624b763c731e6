//! `cargo xtask bench`: what the service costs, each figure a ratio to or taken beside something known.
//!
//! `docs/benchmarks.md` says how to read it.

mod build;
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
    /// The program built from nothing. It takes minutes, so it is not measured unless it is named here.
    Build,
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
        let began = Instant::now();
        let mut figures = Figures::default();
        let measured = self.measure(&mut figures);
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

    fn measure(&self, figures: &mut Figures) -> anyhow::Result<()> {
        // Before the others, which build the programs for themselves.
        if self.measures(Part::Build) {
            say(format_args!("{:?} …", Part::Build));
            build::measure(self.smoke, figures).with_context(|| format!("{:?}", Part::Build))?;
        }
        let parts: [(Part, Measure); 6] = [
            (Part::Http, http::measure),
            (Part::Indicators, indicators::measure),
            (Part::Lateness, lateness::measure),
            (Part::Sessions, sessions::measure),
            (Part::Start, start::measure),
            (Part::Cluster, cluster::measure),
        ];
        if !parts.iter().any(|(part, _)| self.measures(*part)) {
            return Ok(());
        }
        let bencher = self.bencher()?;
        parts
            .into_iter()
            .filter(|(part, _)| self.measures(*part))
            .try_for_each(|(part, measure)| {
                say(format_args!("{part:?} …"));
                measure(&bencher, figures).with_context(|| format!("{part:?}"))
            })
    }

    fn measures(&self, part: Part) -> bool {
        match self.only.as_slice() {
            // That it can be built is soon checked.
            [] => part != Part::Build || self.smoke,
            only => only.contains(&part),
        }
    }

    fn bencher(&self) -> anyhow::Result<Bencher> {
        let profile: &[&str] = if self.smoke { &[] } else { &["--release"] };
        Ok(Bencher {
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
        })
    }
}

type Measure = fn(&Bencher, &mut Figures) -> anyhow::Result<()>;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn a_clean_build_is_measured_only_where_it_is_wanted_or_soon_done() {
        for (arguments, of_build, of_start) in [
            (&[][..], false, true),
            (&["--smoke"], true, true),
            (&["--only", "build"], true, false),
            (&["--only", "start", "--smoke"], false, true),
        ] {
            let line = Line::parse_from([&["bench"], arguments].concat());
            let measured = [Part::Build, Part::Start].map(|part| line.bench.measures(part));
            assert_eq!(measured, [of_build, of_start], "{arguments:?}");
        }
    }
}
