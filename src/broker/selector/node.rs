//! The tree of a selector.

use super::like::LikePattern;
use super::number::{BigNumber, Integer};
use super::view::Field;

/// A value that stands in the selector itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Big(BigNumber),
    Double(f64),
    Text(String),
}

impl From<Integer> for Constant {
    fn from(value: Integer) -> Self {
        match value {
            Integer::Int(value) => Constant::Int(value),
            Integer::Long(value) => Constant::Long(value),
            Integer::Big(value) => Constant::Big(value),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A comparison by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A function that selectors can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Whether a list holds a value.
    InList,
    /// A list of its arguments.
    MakeList,
}

/// A part of a selector.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Constant),
    Field(Field),
    Negate(Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Order {
        order: Order,
        sides: Box<(Node, Node)>,
        converts: bool,
    },
    Equal {
        sides: Box<(Node, Node)>,
        converts: bool,
    },
    Like(Box<Node>, LikePattern),
    In {
        field: Field,
        texts: Vec<String>,
        is_negated: bool,
    },
    /// A property taken as a truth value.
    Truth(Field),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Call(Function, Vec<Node>),
}

impl Node {
    /// Whether it is a condition whatever the message is.
    pub(super) fn is_boolean(&self) -> bool {
        match self {
            Node::Constant(constant) => {
                matches!(constant, Constant::Boolean(_) | Constant::Null)
            }
            Node::Field(_) | Node::Negate(_) | Node::Arithmetic(..) => false,
            Node::Call(function, _) => *function == Function::InList,
            Node::Order { .. }
            | Node::Equal { .. }
            | Node::Like(..)
            | Node::In { .. }
            | Node::Truth(_)
            | Node::Not(_)
            | Node::And(_)
            | Node::Or(_) => true,
        }
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Constant(Constant::Text(_)) => "a text",
            Node::Constant(Constant::Null) => "NULL",
            Node::Constant(Constant::Boolean(_)) => "a truth value",
            Node::Constant(_) => "a number",
            node if node.is_boolean() => "a condition",
            _ => "a value",
        }
    }
}
