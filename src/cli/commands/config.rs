//! `config`: the settings that hold, and where they come from.

use std::fmt::Write;

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::report;
use crate::cli::rows::Rows;
use crate::config::Setting;
use crate::error::Result;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli config --format csv
  key,value,origin
  hash_truncation_length,8,default
  project,photos,…/metaxy.toml:2
  store,dev,…/metaxy.toml:3
  ext.datafusion.allow_cross_project_writes,false,default
  ext.datafusion.engine,auto,default
  ext.datafusion.features,\"[\"\"features*.toml\"\"]\",…/metaxy.toml:18
  ext.datafusion.incremental_resolve,auto,default
  ext.datafusion.materialization_id,,default
  ext.datafusion.prefer_native,,default
  ext.datafusion.rows_at_once,2097152,default
  ext.datafusion.strict_versions,true,default
  ext.datafusion.write_key,,default
  stores.dev.config.fallback_stores,[],default
  stores.dev.config.hash_algorithm,xxhash32,default
  stores.dev.config.root_path,store,…/metaxy.toml:9
  stores.dev.type,delta,…/metaxy.toml:6
  stores.prod.config.fallback_stores,[],default
  stores.prod.config.hash_algorithm,xxhash32,default
  stores.prod.config.root_path,prod,…/metaxy.toml:15
  stores.prod.type,delta,…/metaxy.toml:12

Values that may be secrets are shown as ***.";

/// Show the settings that hold, each with the file, the variable or the default that it comes from
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// How the settings are printed: table, json, csv, or toml with the origins as comments [default: table]
    #[arg(long, short_alias = 'f', value_name = "FORMAT", value_parser = formats())]
    #[arg(help_heading = "Global options")]
    format: Option<String>,

    /// The project that is taken for the configured one
    #[arg(long, hide = true, value_name = "NAME")]
    project: Option<String>,
}

/// Those of all subcommands, and the Python package's.
fn formats() -> PossibleValuesParser {
    let table = PossibleValue::new("table").alias("plain");
    PossibleValuesParser::new([table, "json".into(), "csv".into(), "toml".into()])
}

/// Prints the settings.
///
/// # Errors
///
/// A configuration that can't be used.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let mut settings = program.settings()?;
    if let (Some(project), Some(setting)) =
        (args.project, settings.iter_mut().find(|setting| setting.key == "project"))
    {
        setting.value = project.into();
        "--project".clone_into(&mut setting.origin);
    }
    if program.globals.format.as_deref() == Some("toml") {
        report::output(toml(&settings).as_bytes())?;
        return Ok(Outcome::Done);
    }
    let mut rows = Rows::new(["key", "value", "origin"]);
    for setting in settings {
        rows.push([json!(setting.key), setting.value, json!(setting.origin)]);
    }
    program.print(&rows)?;
    Ok(Outcome::Done)
}

/// A line per setting; one without a value is a comment.
fn toml(settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings {
        // Values of JSON are values of TOML, but for NULL and objects.
        let (start, value) = match &setting.value {
            serde_json::Value::Null => ("# ", String::new()),
            serde_json::Value::Object(_) => {
                let inline = toml::Value::try_from(&setting.value).map(|value| value.to_string());
                ("", inline.unwrap_or_default())
            }
            value => ("", value.to_string()),
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{start}{} = {value}  # {}", setting.key, setting.origin);
    }
    text
}
