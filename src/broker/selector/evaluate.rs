//! What a selector says of a message: true, false or unknown.

use std::cmp::Ordering;

use super::node::{Function, Node, Order};
use super::value::{Datum, Uncomputable, compare};
use super::view::MessageView;

/// True, false, or unknown (None).
type Truth = Option<bool>;

/// Evaluates a condition.
pub(super) fn truth(node: &Node, message: &MessageView<'_>) -> Result<Truth, Uncomputable> {
    match node {
        Node::Order {
            order,
            sides,
            converts,
        } => ordered(*order, &sides.0, &sides.1, *converts, message),
        Node::Equal { sides, converts } => equal(&sides.0, &sides.1, *converts, message),
        Node::Like(value, pattern) => Ok(match datum(value, message)? {
            Datum::Null => None,
            Datum::Text(text) => Some(pattern.fits(&text)),
            _ => Some(false),
        }),
        Node::In {
            field,
            texts,
            is_negated,
        } => Ok(match message.field(field)? {
            Datum::Text(text) => Some(texts.iter().any(|one| *one == text) != *is_negated),
            _ => None,
        }),
        Node::Truth(field) => Ok(match message.field(field)? {
            Datum::Null => None,
            Datum::Boolean(value) => Some(value),
            _ => Some(false),
        }),
        Node::Not(inner) => Ok(truth(inner, message)?.map(|value| !value)),
        Node::And(parts) => joined(parts, false, message),
        Node::Or(parts) => joined(parts, true, message),
        Node::Call(Function::InList, arguments) => in_list(arguments, message).map(Some),
        Node::Constant(_)
        | Node::Field(_)
        | Node::Negate(_)
        | Node::Arithmetic(..)
        | Node::Call(Function::MakeList, _) => match datum(node, message)? {
            Datum::Null => Ok(None),
            Datum::Boolean(value) => Ok(Some(value)),
            _ => Err(Uncomputable("a value where a condition stands")),
        },
    }
}

/// `AND` is decided by a part that is false, `OR` by one that is true.
fn joined(
    parts: &[Node],
    decisive: bool,
    message: &MessageView<'_>,
) -> Result<Truth, Uncomputable> {
    let mut result = Some(!decisive);
    for part in parts {
        match truth(part, message)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn ordered(
    order: Order,
    left: &Node,
    right: &Node,
    converts: bool,
    message: &MessageView<'_>,
) -> Result<Truth, Uncomputable> {
    let left = datum(left, message)?;
    if left.is_null() {
        return Ok(None);
    }
    let right = datum(right, message)?;
    if right.is_null() {
        return Ok(None);
    }
    let is_so = |found: Ordering| match order {
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
    };
    Ok(Some(compare(&left, &right, converts)?.is_some_and(is_so)))
}

/// Something is not equal to what is missing; what is missing is equal to nothing known.
fn equal(
    left: &Node,
    right: &Node,
    converts: bool,
    message: &MessageView<'_>,
) -> Result<Truth, Uncomputable> {
    let left = datum(left, message)?;
    let right = datum(right, message)?;
    match (left.is_null(), right.is_null()) {
        (true, true) => return Ok(Some(true)),
        (true, false) => return Ok(None),
        (false, true) => return Ok(Some(false)),
        (false, false) => {}
    }
    if left.is_same(&right) {
        return Ok(Some(true));
    }
    if !left.has_order() || !right.has_order() {
        return Ok(Some(false));
    }
    Ok(Some(
        compare(&left, &right, converts)? == Some(Ordering::Equal),
    ))
}

fn in_list(arguments: &[Node], message: &MessageView<'_>) -> Result<bool, Uncomputable> {
    let [list, wanted] = arguments else {
        return Err(Uncomputable("INLIST takes two arguments"));
    };
    let Datum::List(values) = datum(list, message)? else {
        return Err(Uncomputable("INLIST takes a list"));
    };
    let wanted = datum(wanted, message)?;
    for value in &values {
        if value.is_null() {
            return Err(Uncomputable("a list with a missing value"));
        }
        if value.is_same(&wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Evaluates any part of a selector.
fn datum<'a>(node: &'a Node, message: &'a MessageView<'_>) -> Result<Datum<'a>, Uncomputable> {
    match node {
        Node::Constant(constant) => Ok(constant.into()),
        Node::Field(field) => message.field(field),
        Node::Negate(inner) => datum(inner, message)?.negated(),
        Node::Arithmetic(operation, left, right) => {
            let left = datum(left, message)?;
            if left.is_null() {
                return Ok(Datum::Null);
            }
            let right = datum(right, message)?;
            if right.is_null() {
                return Ok(Datum::Null);
            }
            left.computed(*operation, &right)
        }
        Node::Call(Function::MakeList, arguments) => {
            let values = arguments.iter().map(|argument| datum(argument, message));
            Ok(Datum::List(values.collect::<Result<_, _>>()?))
        }
        _ => Ok(truth(node, message)?.map_or(Datum::Null, Datum::Boolean)),
    }
}
