//! Arguments of a function in FROM, positional and named.

use datafusion::common::Result;
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Value};

use crate::error::MetaxyError;

/// The arguments of one call, by parameter name.
pub(crate) struct Arguments {
    function: &'static str,
    values: Vec<(&'static str, Expr)>,
}

impl Arguments {
    /// Sorts out a call's arguments; `parameters` are in the order of positional ones.
    pub(crate) fn parse(
        function: &'static str,
        args: Vec<FunctionArg>,
        parameters: &[&'static str],
    ) -> Result<Self> {
        let mut values: Vec<(&'static str, Expr)> = Vec::new();
        let refuse = |reason: String| MetaxyError::Invalid(format!("{function}: {reason}"));
        let mut named = false;
        for (position, arg) in args.into_iter().enumerate() {
            let (name, value) = match arg {
                FunctionArg::Named { name, arg, .. } => (Some(name.value), arg),
                FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (Some(name.value), arg),
                FunctionArg::Unnamed(arg) => (None, arg),
                other => return Err(refuse(format!("{other} is not an argument")).into()),
            };
            let FunctionArgExpr::Expr(value) = value else {
                return Err(refuse(format!("{value} is not an argument")).into());
            };
            let parameter = match &name {
                Some(name) => parameters.iter().find(|p| p.eq_ignore_ascii_case(name)),
                None if !named => parameters.get(position),
                None => return Err(refuse("positional arguments come before named ones".into()).into()),
            };
            named |= name.is_some();
            let Some(parameter) = parameter else {
                let what =
                    name.map_or_else(|| "too many arguments".into(), |n| format!("unknown argument {n}"));
                return Err(refuse(format!("{what}; it takes {}", parameters.join(", "))).into());
            };
            if values.iter().any(|(known, _)| known == parameter) {
                return Err(refuse(format!("argument {parameter} is given twice")).into());
            }
            values.push((parameter, value));
        }
        Ok(Self { function, values })
    }

    /// The expression given for a parameter.
    pub(crate) fn get(&self, parameter: &str) -> Option<&Expr> {
        self.values.iter().find(|(name, _)| *name == parameter).map(|(_, value)| value)
    }

    /// A text argument: a string, or a bare or quoted name.
    pub(crate) fn text(&self, parameter: &str) -> Result<Option<String>> {
        match self.get(parameter) {
            None => Ok(None),
            Some(value) => match as_text(value) {
                Some(text) => Ok(Some(text)),
                None => Err(self.wrong(parameter, "a string", value)),
            },
        }
    }

    /// A text argument that must be there.
    pub(crate) fn required_text(&self, parameter: &str) -> Result<String> {
        self.text(parameter)?.ok_or_else(|| {
            MetaxyError::Invalid(format!("{}: argument {parameter} is missing", self.function)).into()
        })
    }

    /// `true` or `false`; absent means `false`.
    pub(crate) fn flag(&self, parameter: &str) -> Result<bool> {
        match self.get(parameter) {
            None => Ok(false),
            Some(Expr::Value(value)) => match &value.value {
                Value::Boolean(flag) => Ok(*flag),
                _ => Err(self.wrong(parameter, "true or false", &Expr::Value(value.clone()))),
            },
            Some(other) => Err(self.wrong(parameter, "true or false", other)),
        }
    }

    /// The error for an argument of the wrong kind.
    pub(crate) fn wrong(
        &self,
        parameter: &str,
        expected: &str,
        found: &Expr,
    ) -> datafusion::error::DataFusionError {
        MetaxyError::Invalid(format!("{}: {parameter} must be {expected}, not {found}", self.function)).into()
    }
}

/// The text of a string literal or of a name.
pub(crate) fn as_text(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => {
            Some(parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join("."))
        }
        _ => None,
    }
}
