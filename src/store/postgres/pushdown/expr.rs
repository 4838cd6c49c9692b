//! Expressions of a plan as SQL, where that means exactly the same.
//!
//! This is a list of what is known to be the same, not of what is known to differ: text compares by its bytes, NULLs
//! are unknown, and what could fail on one side only is not here.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Case, Expr, Like, Operator};

use super::sql::{Family, Typed, null, type_name};
use super::{Sql, function, literal};

/// What columns an expression can see.
pub(super) trait Scope {
    /// The column of this name.
    fn column(&self, name: &str) -> Sql<Typed>;

    /// A text in the struct or map of this name; `None` if the column has no such text.
    fn member(&self, column: &str, name: &str) -> Option<Sql<Typed>>;
}

/// An expression as SQL; an operand is in parentheses where it has to be.
pub(super) fn translate(expr: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let truth = |inner: &Expr, suffix: &str| -> Sql<Typed> {
        let inner = translate(inner, scope)?;
        require(&inner, &[Family::Truth, Family::Null], expr)?;
        Ok(Typed::truth(format!("({} {suffix})", inner.sql)))
    };
    match expr {
        Expr::Alias(alias) => translate(&alias.expr, scope),
        Expr::Column(column) => scope.column(&column.name),
        Expr::Literal(scalar, _) => literal::value(scalar),
        Expr::BinaryExpr(binary) => operator(binary, expr, scope),
        Expr::Not(inner) => {
            let inner = translate(inner, scope)?;
            require(&inner, &[Family::Truth, Family::Null], expr)?;
            Ok(Typed::truth(format!("(NOT {})", inner.sql)))
        }
        Expr::IsNull(inner) => nullness(inner, "IS NULL", expr, scope),
        Expr::IsNotNull(inner) => nullness(inner, "IS NOT NULL", expr, scope),
        Expr::IsTrue(inner) => truth(inner, "IS TRUE"),
        Expr::IsFalse(inner) => truth(inner, "IS FALSE"),
        Expr::IsUnknown(inner) => truth(inner, "IS UNKNOWN"),
        Expr::IsNotTrue(inner) => truth(inner, "IS NOT TRUE"),
        Expr::IsNotFalse(inner) => truth(inner, "IS NOT FALSE"),
        Expr::IsNotUnknown(inner) => truth(inner, "IS NOT UNKNOWN"),
        Expr::Between(Between { expr: value, negated, low, high }) => {
            let [value, low, high] = operands([value.as_ref(), low.as_ref(), high.as_ref()], expr, scope)?;
            let not = if *negated { "NOT " } else { "" };
            Ok(Typed::truth(format!("({value} {not}BETWEEN {low} AND {high})")))
        }
        Expr::InList(InList { expr: value, list, negated }) => {
            let mut items = Vec::new();
            for item in list {
                let [_, item] = operands([value.as_ref(), item], expr, scope)?;
                items.push(item);
            }
            if items.is_empty() {
                return Ok(Typed::truth(negated.to_string()));
            }
            let [value] = operands([value.as_ref()], expr, scope)?;
            let not = if *negated { "NOT " } else { "" };
            Ok(Typed::truth(format!("({value} {not}IN ({}))", items.join(", "))))
        }
        Expr::Like(like) => matches(like, expr, scope),
        Expr::Case(case) => choice(case, expr, scope),
        Expr::Cast(cast) => converted(translate(&cast.expr, scope)?, cast.field.data_type(), expr),
        // What is here can't fail.
        Expr::TryCast(cast) => converted(translate(&cast.expr, scope)?, cast.field.data_type(), expr),
        Expr::ScalarFunction(function) => function::call(function, expr, scope),
        _ => Err(unknown(expr)),
    }
}

fn nullness(inner: &Expr, word: &str, whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let inner = translate(inner, scope)?;
    // JSON has a NULL of its own.
    if inner.family() == Family::Json {
        return Err(unknown(whole));
    }
    Ok(Typed::truth(format!("({} {word})", inner.sql)))
}

/// The reason for an expression that is not translated.
pub(super) fn unknown(expr: &Expr) -> String {
    format!("{expr} has no translation into PostgreSQL's SQL")
}

fn require(value: &Typed, families: &[Family], whole: &Expr) -> Sql<()> {
    if families.contains(&value.family()) { Ok(()) } else { Err(unknown(whole)) }
}

/// Whether two values compare in the same way here and there.
pub(super) fn comparable(left: &Typed, right: &Typed, whole: &Expr) -> Sql<()> {
    let (left, right) = (left.family(), right.family());
    let fits = match (left, right) {
        (Family::Json | Family::Other, _) | (_, Family::Json | Family::Other) => false,
        (Family::Null, _) | (_, Family::Null) => true,
        (left, right) => left == right,
    };
    if fits { Ok(()) } else { Err(unknown(whole)) }
}

/// The first value and others that it is compared with.
fn operands<const N: usize>(sides: [&Expr; N], whole: &Expr, scope: &dyn Scope) -> Sql<[String; N]> {
    let is_literal = |side: &Expr| matches!(side, Expr::Literal(_, _));
    let first = translate(sides[0], scope)?;
    let mut sql = [const { String::new() }; N];
    for (side, sql) in sides.iter().zip(&mut sql) {
        let value = translate(side, scope)?;
        comparable(&first, &value, whole)?;
        if value.family() != Family::Float || is_literal(side) {
            *sql = value.sql;
            continue;
        }
        // Two columns of floats could meet as zeros of either sign.
        if sides.iter().filter(|side| !is_literal(side)).count() > 1 {
            return Err(unknown(whole));
        }
        *sql = in_total_order(&value);
    }
    Ok(sql)
}

/// A float as it compares with numbers that are finite and not zero. PostgreSQL takes every NaN for the greatest value
/// of all; here that holds only without a minus sign, which 0.0/0.0 has on some machines, and with one it is the least.
fn in_total_order(value: &Typed) -> String {
    let bytes = if value.data_type == DataType::Float32 { "float4send" } else { "float8send" };
    let sql = &value.sql;
    format!("(CASE WHEN {sql} = 'NaN' AND get_byte({bytes}({sql}), 0) > 127 THEN '-Infinity' ELSE {sql} END)")
}

fn operator(binary: &BinaryExpr, whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let (left, right) = (translate(&binary.left, scope)?, translate(&binary.right, scope)?);
    let word = match binary.op {
        Operator::And | Operator::Or => {
            for side in [&left, &right] {
                require(side, &[Family::Truth, Family::Null], whole)?;
            }
            return Ok(Typed::truth(format!("({} {} {})", left.sql, binary.op, right.sql)));
        }
        Operator::StringConcat => {
            for side in [&left, &right] {
                require(side, &[Family::Text], whole)?;
            }
            return Ok(Typed::text(format!("({} || {})", left.sql, right.sql)));
        }
        Operator::Modulo => {
            let safe =
                matches!(binary.right.as_ref(), Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n > 0);
            if !safe || left.data_type != DataType::Int64 {
                return Err(unknown(whole));
            }
            return Ok(Typed::new(format!("({} % {})", left.sql, right.sql), DataType::Int64));
        }
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::IsDistinctFrom => "IS DISTINCT FROM",
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
        _ => return Err(unknown(whole)),
    };
    let [left, right] = operands([binary.left.as_ref(), binary.right.as_ref()], whole, scope)?;
    Ok(Typed::truth(format!("({left} {word} {right})")))
}

fn matches(like: &Like, whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let Expr::Literal(pattern, _) = like.pattern.as_ref() else { return Err(unknown(whole)) };
    // Whose upper-case letter a letter is depends on tables, and what a lone backslash means on the reader.
    let plain = pattern.try_as_str().flatten().is_some_and(|pattern| !pattern.contains('\\'));
    if like.case_insensitive || !plain || !matches!(like.escape_char, None | Some('\\')) {
        return Err(unknown(whole));
    }
    let value = translate(&like.expr, scope)?;
    require(&value, &[Family::Text], whole)?;
    let not = if like.negated { "NOT " } else { "" };
    Ok(Typed::truth(format!("({} {not}LIKE {})", value.sql, literal::value(pattern)?.sql)))
}

fn choice(case: &Case, whole: &Expr, scope: &dyn Scope) -> Sql<Typed> {
    let base = case.expr.as_deref().map(|base| translate(base, scope)).transpose()?;
    let mut sql = "CASE".to_owned();
    let mut data_type = DataType::Null;
    let mut result = |value: &Typed| {
        if data_type == DataType::Null {
            data_type = value.data_type.clone();
        }
        let same = value.family() == Family::Null || value.family() == Family::of(&data_type);
        if same { Ok(()) } else { Err(unknown(whole)) }
    };
    for (when, then) in &case.when_then_expr {
        let (mut when, then) = (translate(when, scope)?, translate(then, scope)?);
        match &base {
            Some(base) => {
                comparable(base, &when, whole)?;
                require(base, &[Family::Text, Family::Integer, Family::Truth], whole)?;
                when.sql = format!("({} = {})", base.sql, when.sql);
            }
            None => require(&when, &[Family::Truth, Family::Null], whole)?,
        }
        result(&then)?;
        sql += &format!(" WHEN {} THEN {}", when.sql, then.sql);
    }
    if let Some(otherwise) = &case.else_expr {
        let otherwise = translate(otherwise, scope)?;
        result(&otherwise)?;
        sql += &format!(" ELSE {}", otherwise.sql);
    }
    Ok(Typed::new(format!("({sql} END)"), data_type))
}

/// A value in another type, where every value of the one has its place in the other.
pub(super) fn converted(value: Typed, to: &DataType, whole: &Expr) -> Sql<Typed> {
    let from = value.data_type.clone();
    let name = type_name(to);
    let kept = || Ok(Typed::new(value.sql.clone(), to.clone()));
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or_default();
    match (Family::of(&from), Family::of(to), name) {
        _ if from == *to => Ok(value),
        (Family::Null, _, Some(_)) => Ok(Typed::new(null(to), to.clone())),
        (Family::Text, Family::Text, _)
        | (Family::Instant, Family::Instant, _)
        | (Family::Json, Family::Json, _) => kept(),
        (Family::Integer, Family::Integer, Some(name))
            if width(&from) < width(to) && (from.is_unsigned_integer() || to.is_signed_integer()) =>
        {
            Ok(Typed::new(format!("({})::{name}", value.sql), to.clone()))
        }
        (Family::Integer, Family::Float, Some(name)) => {
            Ok(Typed::new(format!("({})::{name}", value.sql), to.clone()))
        }
        (Family::Integer | Family::Truth, Family::Text, _) => {
            Ok(Typed::new(format!("({})::text COLLATE \"C\"", value.sql), to.clone()))
        }
        _ => Err(unknown(whole)),
    }
}
