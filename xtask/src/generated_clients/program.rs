//! The programs of `docs/clients.md`: made ready, and run.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::tools::{check, node, pip, python, typescript};
use crate::{openapi, own_package_variables, root};

const DOCS: &str = "docs/clients.md";

/// One of them, by what it is written in.
#[derive(Clone, Copy)]
pub(super) enum Program {
    TypeScript,
    Python,
    Rust,
}

/// One that can be run.
pub(super) struct Compiled(Vec<String>);

impl Program {
    pub(super) fn all() -> [Self; 3] {
        [Self::TypeScript, Self::Python, Self::Rust]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TypeScript => "TypeScript (openapi-typescript, openapi-fetch)",
            Self::Python => "Python (openapi-python-client)",
            Self::Rust => "Rust (presence-core)",
        }
    }

    /// Makes the client, and compiles the program with it.
    pub(super) fn compile(self) -> anyhow::Result<Compiled> {
        match self {
            Self::TypeScript => compile_typescript(),
            Self::Python => compile_python(),
            Self::Rust => compile_rust(),
        }
    }
}

fn compile_typescript() -> anyhow::Result<Compiled> {
    let directory = typescript();
    check(
        node("openapi-typescript")
            .arg(openapi::file())
            .args(["--output", "presence.d.ts"]),
    )?;
    fs::write(directory.join("flow.mts"), documented(DOCS, "ts")?)?;
    check(strict_tsc().args(["--exactOptionalPropertyTypes", "flow.mts"]))?;
    let script = directory.join("flow.mjs").display().to_string();
    Ok(Compiled(vec!["node".to_owned(), script]))
}

/// Compiles `bot.mts`.
pub(super) fn compile_bot() -> anyhow::Result<()> {
    check(strict_tsc().arg("bot.mts"))
}

fn strict_tsc() -> Command {
    let mut tsc = node("tsc");
    tsc.args(["--strict", "--noUncheckedIndexedAccess", "--target", "es2023"])
        .args(["--module", "nodenext", "--types", "node"]);
    tsc
}

fn compile_python() -> anyhow::Result<Compiled> {
    let directory = python();
    check(
        pip("openapi-python-client")
            .args(["generate", "--overwrite", "--fail-on-warning", "--meta", "none"])
            .args(["--output-path", "presence_client", "--path"])
            .arg(openapi::file())
            // It formats what it made with a program of the virtual environment.
            .env("PATH", search_path(&directory)?),
    )?;
    fs::write(directory.join("flow.py"), documented(DOCS, "python")?)?;
    // What was generated is typed, but not as strictly.
    check(pip("mypy").args(["--strict", "--follow-imports", "silent", "flow.py"]))?;
    let python = directory.join("bin/python").display().to_string();
    let script = directory.join("flow.py").display().to_string();
    Ok(Compiled(vec![python, script]))
}

fn search_path(directory: &std::path::Path) -> anyhow::Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [directory.join("bin")].into_iter();
    Ok(std::env::join_paths(own.chain(std::env::split_paths(&path)))?)
}

fn compile_rust() -> anyhow::Result<Compiled> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let run = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "presence-core",
        "--example",
        "client",
        "--",
    ];
    Ok(Compiled(
        [cargo].into_iter().chain(run.map(str::to_owned)).collect(),
    ))
}

/// The first program in this language that these docs show.
pub(super) fn documented(docs: &str, language: &str) -> anyhow::Result<String> {
    let name = docs;
    let docs = fs::read_to_string(root().join(name))?;
    let (_, after) = docs
        .split_once(&format!("```{language}\n"))
        .with_context(|| format!("{name} has no program in {language}"))?;
    let (program, _) = after.split_once("```").context("a block has an end")?;
    Ok(program.to_owned())
}

impl Compiled {
    /// Runs it, and returns what it says.
    pub(super) fn run(&self, url: &str, token: &str, arguments: [&str; 2]) -> anyhow::Result<String> {
        let Self(command) = self;
        let (program, fixed) = command.split_first().context("a program has a name")?;
        let mut command = Command::new(program);
        for name in own_package_variables() {
            command.env_remove(name);
        }
        let output = command
            .args(fixed)
            .args(arguments)
            .env("PRESENCE_URL", url)
            .env("PRESENCE_TOKEN", token)
            // A proxy that the installers needed would be asked for loopback too.
            .env("NO_PROXY", "*")
            .current_dir(root())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("{program} cannot be run"))?;
        ensure!(output.status.success(), "it ended with {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }
}
