//! A condition that keeps the rows of some keys, however many keys there are.
//!
//! A list of literals would be copied and looked through by every rule of the optimizer.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::keys::Keys;
use super::numbers::KeySet;

/// The condition's name, by which plans are searched for it.
pub(crate) const AMONG: &str = "metaxy_among";
/// Keys that are looked up one by one at most.
const FEW: usize = 1 << 16;

/// Whether the values of `columns` are those of a row of `keys`, NULL for NULL. With a probability as small as that of
/// two keys of one number ([`Keys`]) it also keeps another row.
pub(crate) fn among(columns: Vec<Expr>, keys: &[ArrayRef]) -> Result<Expr> {
    let maker = Keys::new();
    let wanted = Arc::new(KeySet::of(maker.of(keys)?));
    let signature = Signature::variadic_any(Volatility::Immutable);
    let few = keys.first().filter(|keys| keys.len() <= FEW).cloned();
    Ok(ScalarUDF::new_from_impl(Among { maker, wanted, few, signature }).call(columns))
}

/// The first column of such a condition and the values that it wants there, if they are few and the column is not
/// computed.
pub(crate) fn few_keys(expr: &Expr) -> Option<(&str, &ArrayRef)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let among = function.func.inner().as_ref().downcast_ref::<Among>()?;
    let Expr::Column(column) = function.args.first()? else { return None };
    Some((&column.name, among.few.as_ref()?))
}

/// Whether an expression is such a condition.
pub(crate) fn is_among(expr: &Expr) -> bool {
    let is_own = |e: &Expr| matches!(e, Expr::ScalarFunction(function) if function.name() == AMONG);
    expr.exists(|e| Ok(is_own(e))).unwrap_or(false)
}

#[derive(Debug)]
struct Among {
    maker: Keys,
    wanted: Arc<KeySet>,
    /// The values of the first column, if they are few.
    few: Option<ArrayRef>,
    signature: Signature,
}

impl PartialEq for Among {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wanted, &other.wanted)
    }
}

impl Eq for Among {}

impl Hash for Among {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.wanted).hash(state);
    }
}

impl ScalarUDFImpl for Among {
    fn name(&self) -> &str {
        AMONG
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|c| c.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let keep: BooleanArray =
            self.maker.of(&columns)?.into_iter().map(|key| Some(self.wanted.has(key))).collect();
        Ok(ColumnarValue::Array(Arc::new(keep)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray, Int64Array, StringArray, StringViewArray};
    use datafusion::arrow::datatypes::Field;
    use datafusion::config::ConfigOptions;
    use datafusion::logical_expr::col;

    use super::*;

    fn kept(condition: &Expr, columns: Vec<ArrayRef>) -> Vec<bool> {
        let Expr::ScalarFunction(function) = condition else { panic!("{condition}") };
        let fields = columns.iter().map(|c| Arc::new(Field::new("c", c.data_type().clone(), true))).collect();
        let args = ScalarFunctionArgs {
            number_rows: columns[0].len(),
            args: columns.into_iter().map(ColumnarValue::Array).collect(),
            arg_fields: fields,
            return_field: Arc::new(Field::new("among", DataType::Boolean, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let result = function.func.invoke_with_args(args).unwrap().to_array(1).unwrap();
        result.as_boolean().iter().map(|keep| keep.unwrap()).collect()
    }

    #[test]
    fn rows_of_the_keys_are_kept_nulls_among_them() {
        let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let condition = among(vec![col("id")], &[keys]).unwrap();
        assert!(is_among(&condition) && !is_among(&col("id")));
        let rows: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"), None, Some("a"), Some("")]));
        assert_eq!(kept(&condition, vec![rows]), [false, true, true, false]);
    }

    #[test]
    fn keys_of_several_columns_are_kept_together() {
        let numbers = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let keys = [numbers(vec![1, 2]), numbers(vec![3, 4])];
        let condition = among(vec![col("a"), col("b")], &keys).unwrap();
        assert_eq!(
            kept(&condition, vec![numbers(vec![1, 1, 2]), numbers(vec![3, 4, 4])]),
            [true, false, true]
        );
    }
}
