//! The arguments of a CALL: constants, written as any SQL expression.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::ColumnarValue;
use datafusion::sql::sqlparser::ast::{Expr, ExprWithAlias, FunctionArg};
use indexmap::IndexMap;

use crate::error::{MetaxyError, Result, one_line};
use crate::functions::{Arguments, as_text};
use crate::store::{parse_bytes, parse_duration};

/// The arguments of one call, by parameter name.
pub(super) struct Constants {
    procedure: &'static str,
    arguments: Arguments,
    state: SessionState,
}

impl Constants {
    /// Sorts out the arguments.
    ///
    /// # Errors
    /// One that the procedure does not have; the error lists those it has.
    pub(super) fn new(
        procedure: &'static str,
        parameters: &[&'static str],
        args: Vec<FunctionArg>,
        state: SessionState,
    ) -> Result<Self> {
        Ok(Self { procedure, arguments: Arguments::parse(procedure, args, parameters)?, state })
    }

    /// A text: a string, a bare name, or any expression that gives one. Absent and NULL are the same.
    pub(super) fn text(&self, parameter: &str) -> Result<Option<String>> {
        let Some(expr) = self.arguments.get(parameter) else { return Ok(None) };
        if let Some(text) = as_text(expr) {
            return Ok(Some(text));
        }
        let value = self.value(parameter, expr)?;
        if value.is_null() {
            return Ok(None);
        }
        match value.try_as_str() {
            Some(text) => Ok(text.map(str::to_owned)),
            None => Err(self.arguments.wrong(parameter, "a string", expr).into()),
        }
    }

    /// Names with commas between them. Absent and NULL are the same.
    pub(super) fn names(&self, parameter: &str) -> Result<Option<Vec<String>>> {
        let names = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect();
        Ok(self.text(parameter)?.map(names))
    }

    /// A span of time: an interval without months, or a text such as `30d`. Absent and NULL are the same.
    pub(super) fn span(&self, parameter: &str) -> Result<Option<Duration>> {
        let Some(expr) = self.arguments.get(parameter) else { return Ok(None) };
        let wrong =
            || self.arguments.wrong(parameter, "a span of time, such as INTERVAL '30 days' or '30d'", expr);
        if let Some(text) = as_text(expr) {
            return Ok(Some(parse_duration(&text).map_err(|_| wrong())?));
        }
        match self.value(parameter, expr)? {
            ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
                let (days, nanoseconds) = (u64::try_from(span.days), u64::try_from(span.nanoseconds));
                match (days, nanoseconds) {
                    (Ok(days), Ok(rest)) => {
                        Ok(Some(Duration::from_hours(24 * days) + Duration::from_nanos(rest)))
                    }
                    _ => Err(wrong().into()),
                }
            }
            value if value.is_null() => Ok(None),
            value => match value.try_as_str() {
                Some(Some(text)) => Ok(Some(parse_duration(text).map_err(|_| wrong())?)),
                _ => Err(wrong().into()),
            },
        }
    }

    /// A number of bytes: an integer, or a text such as `64MB`. Absent and NULL are the same.
    pub(super) fn bytes(&self, parameter: &str) -> Result<Option<u64>> {
        let Some(expr) = self.arguments.get(parameter) else { return Ok(None) };
        let wrong = || self.arguments.wrong(parameter, "a size, such as 1000000 or '64MB'", expr);
        let value = match as_text(expr) {
            Some(text) => ScalarValue::from(text),
            None => self.value(parameter, expr)?,
        };
        let text = match &value {
            value if value.is_null() => return Ok(None),
            value if value.data_type().is_integer() => value.to_string(),
            value => value.try_as_str().flatten().ok_or_else(wrong)?.to_owned(),
        };
        Ok(Some(parse_bytes(&text).ok_or_else(wrong)?))
    }

    /// TRUE or FALSE. Absent and NULL are the same.
    pub(super) fn truth(&self, parameter: &str) -> Result<Option<bool>> {
        let Some(expr) = self.arguments.get(parameter) else { return Ok(None) };
        match self.value(parameter, expr)? {
            ScalarValue::Boolean(value) => Ok(value),
            ScalarValue::Null => Ok(None),
            _ => Err(self.arguments.wrong(parameter, "true or false", expr).into()),
        }
    }

    /// A map of texts, in its order; empty when it isn't given.
    pub(super) fn texts(&self, parameter: &str) -> Result<IndexMap<String, String>> {
        let Some(expr) = self.arguments.get(parameter) else { return Ok(IndexMap::new()) };
        let value = self.value(parameter, expr)?;
        let wrong = |what: &str| MetaxyError::from(self.arguments.wrong(parameter, what, expr));
        if value.is_null() {
            return Ok(IndexMap::new());
        }
        let array = value.to_array()?;
        let Some(map) = array.as_map_opt() else {
            return Err(wrong("a map such as MAP {'name': 'value'}"));
        };
        let text = |array: &dyn Array| -> Result<StringArray> {
            let array = cast(array, &DataType::Utf8).map_err(DataFusionError::from)?;
            Ok(array.as_string::<i32>().clone())
        };
        let (names, values) = (text(map.keys().as_ref())?, text(map.values().as_ref())?);
        names
            .iter()
            .zip(values.iter())
            .map(|pair| match pair {
                (Some(name), Some(value)) => Ok((name.to_owned(), value.to_owned())),
                _ => Err(wrong("a map without NULLs")),
            })
            .collect()
    }

    fn value(&self, parameter: &str, expr: &Expr) -> Result<ScalarValue> {
        self.evaluate(expr.clone()).map_err(|error| {
            let reason = one_line(&error.strip_backtrace());
            MetaxyError::Invalid(format!("{}: {parameter} must be a constant: {reason}", self.procedure))
        })
    }

    fn evaluate(&self, expr: Expr) -> Result<ScalarValue, DataFusionError> {
        let no_columns = DFSchema::empty();
        let expr = ExprWithAlias { expr, alias: None };
        let expr = self.state.create_logical_expr_from_sql_expr(expr, &no_columns)?;
        let expr = self.state.create_physical_expr(expr, &no_columns)?;
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one_row)?;
        match expr.evaluate(&row)? {
            ColumnarValue::Scalar(value) => Ok(value),
            ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0),
        }
    }
}
