//! `config`: the settings that hold, and where they come from.

use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
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
  ext.datafusion.materialization_id,,default
  ext.datafusion.prefer_native,,default
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
pub(in crate::cli) struct Args {}

/// Prints the settings.
///
/// # Errors
///
/// A configuration that can't be used.
pub(super) async fn run(program: &Program, _args: Args) -> Result<Outcome> {
    let mut rows = Rows::new(["key", "value", "origin"]);
    for setting in program.settings()? {
        rows.push([json!(setting.key), setting.value, json!(setting.origin)]);
    }
    program.print(&rows)?;
    Ok(Outcome::Done)
}
