//! The Dockerfile, as far as it can be tried without a registry of images: its build's commands are run here.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{own_package_variables, root};

/// What a build with the Dockerfile runs and copies.
pub(super) struct Dockerfile {
    /// Of the first stage, in the work tree.
    commands: Vec<String>,
    /// What the last stage takes from the first, below the work tree.
    taken: Vec<String>,
}

/// Where the work tree is in the first stage.
const WORK_TREE: &str = "/src/";

impl Dockerfile {
    pub(super) fn read() -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string(root().join("docs/deploy/Dockerfile"))?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.replace("\\\n", " ");
        let mut stage = 0;
        let (mut commands, mut taken) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("FROM", _)) => stage += 1,
                Some(("RUN", command)) => {
                    ensure!(stage == 1, "the last stage has no shell: {line}");
                    commands.push(command.to_owned());
                }
                Some(("COPY", arguments)) if stage == 2 => {
                    let from = arguments.split(' ').find(|word| !word.starts_with("--"));
                    let below = from.and_then(|from| from.strip_prefix(WORK_TREE));
                    taken.push(
                        below
                            .with_context(|| format!("{line} takes nothing of the build"))?
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        ensure!(
            stage == 2 && !commands.is_empty() && !taken.is_empty(),
            "it has other stages"
        );
        Ok(Self { commands, taken })
    }

    /// Runs the build's commands in this work tree; the program that the image would get.
    pub(super) fn build(&self) -> anyhow::Result<PathBuf> {
        for command in &self.commands {
            self.run(command)?;
        }
        for path in &self.taken {
            ensure!(root().join(path).exists(), "nothing builds {path}");
        }
        self.program()
    }

    /// Finds what can be found without a build: that what is taken is named by a command, and the program among it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for path in &self.taken {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            ensure!(
                self.commands.iter().any(|command| command.contains(dir)),
                "nothing builds {path}"
            );
        }
        self.program().map(drop)
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        let program = self.taken.iter().find(|path| path.ends_with("/presence-server"));
        Ok(root().join(program.context("the image has no presence-server")?))
    }

    fn run(&self, command: &str) -> anyhow::Result<()> {
        let mut shell = Command::new("sh");
        for name in own_package_variables() {
            shell.env_remove(name);
        }
        let status = shell
            .args(["-ec", command])
            // As in the image, where nobody has moved it.
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(root())
            .status()?;
        ensure!(status.success(), "`{command}` ended with {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_builds_what_it_takes() {
        Dockerfile::read().unwrap().check().unwrap();
    }

    #[test]
    fn what_nothing_builds_is_noticed() {
        let text = "FROM rust AS build\nRUN make \\\n  target/image/presence-server\nFROM scratch\n";
        let take = |path: &str| Dockerfile::parse(&format!("{text}COPY --from=build {path} /\n"));
        let fits = take("/src/target/image/presence-server").unwrap();
        assert_eq!(fits.commands, ["make    target/image/presence-server"]);
        fits.check().unwrap();
        assert!(
            take("/src/target/other/presence-server")
                .unwrap()
                .check()
                .is_err()
        );
        assert!(
            take("/src/target/image/data").unwrap().check().is_err(),
            "without the program"
        );
        assert!(take("/elsewhere").is_err());
        assert!(Dockerfile::parse("FROM rust\nRUN true\n").is_err());
    }
}
