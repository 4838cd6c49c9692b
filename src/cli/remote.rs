//! Object stores that a statement names by URL: registered when it is planned, as datafusion-cli does.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::TableOptions;
use datafusion::config::ConfigFileType;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion_cli::cli_context::CliSessionContext;
use datafusion_cli::object_storage::{
    AwsOptions, GcpOptions, get_cos_object_store_builder, get_gcs_object_store_builder,
    get_oss_object_store_builder, get_s3_object_store_builder,
};
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStore};

use super::context::CliContext;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Executes a plan, with the object stores that a `COPY` or a `CREATE EXTERNAL TABLE` in it needs.
///
/// # Errors
///
/// When a location or its options are wrong, or when the plan fails.
pub(super) async fn execute(context: &CliContext, plan: LogicalPlan) -> Result<DataFrame> {
    let locations = locations(&plan);
    for location in &locations {
        location.register(context, false).await?;
    }
    // Only a table's creation looks at the bucket here and now; a COPY writes later.
    let again = matches!(plan, LogicalPlan::Ddl(_)) && !locations.is_empty();
    let retry = again.then(|| plan.clone());
    match (context.execute_logical_plan(plan).await, retry) {
        (Err(error), Some(plan)) if is_s3_error(&error) => {
            // The bucket may live in another region than the configured one: ask it.
            log::warn!("the S3 region seems wrong; asking the bucket for its region, which takes a while");
            for location in &locations {
                location.register(context, true).await?;
            }
            context.execute_logical_plan(plan).await
        }
        (result, _) => result,
    }
}

fn is_s3_error(error: &DataFusionError) -> bool {
    matches!(error, DataFusionError::ObjectStore(inner)
        if matches!(inner.as_ref(), object_store::Error::Generic { store, .. } if "S3".eq_ignore_ascii_case(store)))
}

/// A place that a statement reads from or writes to.
struct Place {
    url: String,
    options: HashMap<String, String>,
    format: Option<ConfigFileType>,
}

fn locations(plan: &LogicalPlan) -> Vec<Place> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) => {
            let place = |url: &String| Place {
                url: url.clone(),
                options: create.options.clone(),
                format: file_type(&create.file_type),
            };
            create.locations.iter().map(place).collect()
        }
        LogicalPlan::Copy(copy) => vec![Place {
            url: copy.output_url.clone(),
            options: copy.options.clone(),
            format: file_type(&copy.file_type.get_ext()),
        }],
        _ => Vec::new(),
    }
}

fn file_type(name: &str) -> Option<ConfigFileType> {
    match name.to_lowercase().as_str() {
        "csv" => Some(ConfigFileType::CSV),
        "json" => Some(ConfigFileType::JSON),
        "parquet" => Some(ConfigFileType::PARQUET),
        _ => None,
    }
}

impl Place {
    /// Registers this place's store. Local files and schemes that we don't know are left to DataFusion.
    async fn register(&self, context: &CliContext, ask_region: bool) -> Result<()> {
        let location = ListingTableUrl::parse(&self.url)?;
        let (scheme, url) = (location.scheme(), location.as_ref());
        let options = || self.table_options(context, scheme);
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" => Arc::new(get_s3_object_store_builder(url, &aws(&options()?), ask_region).await?.build()?),
            "oss" => Arc::new(get_oss_object_store_builder(url, &aws(&options()?))?.build()?),
            "cos" => Arc::new(get_cos_object_store_builder(url, &aws(&options()?))?.build()?),
            "gs" | "gcs" => Arc::new(get_gcs_object_store_builder(url, &gcp(&options()?))?.build()?),
            "http" | "https" => {
                let client = ClientOptions::new().with_allow_http(true);
                let origin = url.origin().ascii_serialization();
                Arc::new(HttpBuilder::new().with_client_options(client).with_url(origin).build()?)
            }
            _ => return Ok(()),
        };
        context.register_object_store(url, store);
        Ok(())
    }

    /// The session's table options with the statement's own laid over them.
    fn table_options(&self, context: &CliContext, scheme: &str) -> Result<TableOptions> {
        context.register_table_options_extension_from_scheme(scheme);
        let mut options = context.session_state().default_table_options();
        if let Some(format) = self.format.clone() {
            options.set_config_format(format);
        }
        options.alter_with_string_hash_map(&self.options)?;
        Ok(options)
    }
}

fn aws(options: &TableOptions) -> AwsOptions {
    options.extensions.get::<AwsOptions>().cloned().unwrap_or_default()
}

fn gcp(options: &TableOptions) -> GcpOptions {
    options.extensions.get::<GcpOptions>().cloned().unwrap_or_default()
}
