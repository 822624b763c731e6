//! The bill of materials: CycloneDX 1.6, the same for the same sources.

use serde_json::{Value, json};

use super::package::{NAME as PROGRAM, VERSION};
use super::parts::{Part, PartId, Parts, SERVER};

/// What the file is called.
pub(super) const NAME: &str = "presence-server.cdx.json";

pub(super) fn json(parts: &Parts) -> anyhow::Result<String> {
    let libraries: Vec<_> = parts
        .0
        .iter()
        .filter(|((name, _), _)| name != SERVER)
        .map(|(id, part)| component(id, part, "library"))
        .collect();
    let program = parts.0.iter().find(|((name, _), _)| name == SERVER);
    let dependencies: Vec<_> = parts
        .0
        .iter()
        .map(|(id, part)| json!({"ref": purl(id), "dependsOn": part.needs.iter().map(purl).collect::<Vec<_>>()}))
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": program.map(|(id, part)| component(id, part, "application")),
            "properties": [{"name": "package", "value": format!("{PROGRAM} {VERSION}")}],
        },
        "components": libraries,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(id: &PartId, part: &Part, kind: &str) -> Value {
    let (name, version) = id;
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(id),
        "name": name,
        "version": version,
        // Older crates write `/` where SPDX has `OR`.
        "licenses": [{"expression": part.licence.replace(" / ", "/").replace('/', " OR ")}],
        "purl": purl(id),
    });
    if let Some(checksum) = &part.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &part.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

fn purl((name, version): &PartId) -> String {
    format!("pkg:cargo/{name}@{version}")
}
