//! The grammar of selectors, by recursive descent.
//!
//! From the weakest to the strongest: OR, AND, equality and IS, order and LIKE, BETWEEN and IN,
//! `+ -`, `* / %`, and the signs together with NOT, which so binds closer than any comparison.

use super::CONVERT_PREFIX;
use super::error::{Fault, SelectorError};
use super::lexer::{Keyword, Placed, PlacedFault, Token, tokens};
use super::like::LikePattern;
use super::node::{Arithmetic, Constant, Function, Node, Order};
use super::view::Field;

/// Bytes that a selector may have: what a string on the wire can hold.
const TEXT_BYTES_MAX: usize = 0xffff;
/// Levels of parentheses, signs and function calls.
const NESTING_MAX: usize = 100;
/// Levels of the tree, to which also each operator of a chain like `1 + 1 + 1` adds one.
const DEPTH_MAX: usize = 1000;

/// A part of the selector, where it begins, and how deep its tree is.
struct Part {
    node: Node,
    offset: usize,
    depth: usize,
}

struct Parser<'a> {
    tokens: Vec<Placed<'a>>,
    at: usize,
    nesting: usize,
    converts: bool,
}

pub(super) fn parse(text: &str) -> Result<Node, SelectorError> {
    if text.len() > TEXT_BYTES_MAX {
        let limit = TEXT_BYTES_MAX;
        let bytes = text.len();
        return Err(SelectorError::new(text, 0, Fault::TooLong { bytes, limit }));
    }
    let converts = text.starts_with(CONVERT_PREFIX);
    let start = if converts { CONVERT_PREFIX.len() } else { 0 };
    parse_from(text, start, converts)
        .map_err(|(offset, fault)| SelectorError::new(text, offset, fault))
}

fn parse_from(text: &str, start: usize, converts: bool) -> Result<Node, PlacedFault> {
    let mut parser = Parser {
        tokens: tokens(text, start)?,
        at: 0,
        nesting: 0,
        converts,
    };
    let whole = parser.disjunction()?;
    if *parser.token() != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(condition(whole)?.node)
}

/// Takes a part as a condition; a property alone stands for its truth.
fn condition(part: Part) -> Result<Part, PlacedFault> {
    let node = match part.node {
        Node::Field(field) => Node::Truth(field),
        node if node.is_boolean() => node,
        _ => return Err((part.offset, Fault::NotBoolean)),
    };
    Ok(Part { node, ..part })
}

/// Only numbers and what the message says can be ordered.
fn orderable(part: &Part) -> Result<(), PlacedFault> {
    let is_number = match &part.node {
        Node::Constant(constant) => !matches!(
            constant,
            Constant::Null | Constant::Boolean(_) | Constant::Text(_)
        ),
        node => !node.is_boolean(),
    };
    if is_number {
        return Ok(());
    }
    Err((part.offset, Fault::NotOrdered(part.node.kind())))
}

fn deeper(offset: usize, depth: usize) -> Result<usize, PlacedFault> {
    if depth >= DEPTH_MAX {
        return Err((offset, Fault::TooDeep { limit: DEPTH_MAX }));
    }
    Ok(depth + 1)
}

/// A part made of one.
fn over(part: Part, make: impl FnOnce(Node) -> Node) -> Result<Part, PlacedFault> {
    Ok(Part {
        offset: part.offset,
        depth: deeper(part.offset, part.depth)?,
        node: make(part.node),
    })
}

/// A part made of two.
fn both(
    left: Part,
    right: Part,
    make: impl FnOnce(Node, Node) -> Node,
) -> Result<Part, PlacedFault> {
    Ok(Part {
        offset: left.offset,
        depth: deeper(right.offset, left.depth.max(right.depth))?,
        node: make(left.node, right.node),
    })
}

impl<'a> Parser<'a> {
    fn token(&self) -> &Token<'a> {
        &self.tokens[self.at.min(self.tokens.len() - 1)].token
    }

    fn offset(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].offset
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        *self.token() == Token::Keyword(keyword)
    }

    fn take_keyword(&mut self, keyword: Keyword) -> bool {
        let is_there = self.is_keyword(keyword);
        self.at += usize::from(is_there);
        is_there
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let is_there = matches!(self.token(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(is_there);
        is_there
    }

    fn unexpected(&self, wanted: &'static str) -> PlacedFault {
        let found = match self.token() {
            Token::Keyword(keyword) => format!("{keyword:?}").to_uppercase(),
            Token::Identifier(name) => format!("`{name}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Integer(_) | Token::Float(_) => "a number".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        (self.offset(), Fault::Unexpected { wanted, found })
    }

    fn expect_symbol(&mut self, symbol: &str, wanted: &'static str) -> Result<(), PlacedFault> {
        if self.take_symbol(symbol) {
            return Ok(());
        }
        Err(self.unexpected(wanted))
    }

    fn text(&mut self) -> Result<String, PlacedFault> {
        if let Token::Text(text) = self.token() {
            let text = text.clone();
            self.at += 1;
            return Ok(text);
        }
        Err(self.unexpected("a text in single quotes"))
    }

    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, PlacedFault>,
    ) -> Result<T, PlacedFault> {
        if self.nesting >= NESTING_MAX {
            return Err((self.offset(), Fault::TooDeep { limit: NESTING_MAX }));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn disjunction(&mut self) -> Result<Part, PlacedFault> {
        self.chain(Keyword::Or, Self::conjunction, Node::Or)
    }

    fn conjunction(&mut self) -> Result<Part, PlacedFault> {
        self.chain(Keyword::And, Self::equality, Node::And)
    }

    fn chain(
        &mut self,
        keyword: Keyword,
        element: impl Fn(&mut Self) -> Result<Part, PlacedFault>,
        make: impl FnOnce(Vec<Node>) -> Node,
    ) -> Result<Part, PlacedFault> {
        let first = element(self)?;
        if !self.is_keyword(keyword) {
            return Ok(first);
        }
        let first = condition(first)?;
        let (offset, mut depth) = (first.offset, first.depth);
        let mut nodes = vec![first.node];
        while self.take_keyword(keyword) {
            let next = condition(element(self)?)?;
            depth = depth.max(next.depth);
            nodes.push(next.node);
        }
        let depth = deeper(offset, depth)?;
        let node = make(nodes);
        Ok(Part {
            node,
            offset,
            depth,
        })
    }

    fn equality(&mut self) -> Result<Part, PlacedFault> {
        let mut left = self.comparison()?;
        loop {
            if self.take_symbol("=") {
                let right = self.comparison()?;
                left = self.equal(left, right)?;
            } else if self.take_symbol("<>") {
                let right = self.comparison()?;
                left = over(self.equal(left, right)?, not)?;
            } else if self.take_keyword(Keyword::Is) {
                let is_negated = self.take_keyword(Keyword::Not);
                if !self.take_keyword(Keyword::Null) {
                    return Err(self.unexpected("NULL or NOT NULL"));
                }
                let null = Node::Constant(Constant::Null);
                let converts = self.converts;
                left = over(left, |node| Node::Equal {
                    sides: Box::new((node, null)),
                    converts,
                })?;
                if is_negated {
                    left = over(left, not)?;
                }
            } else {
                return Ok(left);
            }
        }
    }

    fn equal(&self, left: Part, right: Part) -> Result<Part, PlacedFault> {
        for part in [&left, &right] {
            if matches!(part.node, Node::Constant(Constant::Null)) {
                return Err((part.offset, Fault::EqualsNull));
            }
        }
        if matches!(left.node, Node::Constant(Constant::Boolean(_)))
            && let Node::Constant(constant) = &right.node
            && !matches!(constant, Constant::Boolean(_))
        {
            return Err((right.offset, Fault::BooleanWithOther(right.node.kind())));
        }
        let converts = self.converts;
        both(left, right, |left, right| Node::Equal {
            sides: Box::new((left, right)),
            converts,
        })
    }

    fn comparison(&mut self) -> Result<Part, PlacedFault> {
        let mut left = self.sum()?;
        loop {
            if let Some(order) = self.order() {
                let right = self.sum()?;
                left = self.ordered(order, left, right)?;
                continue;
            }
            let at = self.at;
            let is_negated = self.take_keyword(Keyword::Not);
            left = if self.take_keyword(Keyword::Like) {
                self.like(left, is_negated)?
            } else if self.take_keyword(Keyword::Between) {
                self.between(left, is_negated)?
            } else if self.take_keyword(Keyword::In) {
                self.one_of(left, is_negated)?
            } else if is_negated {
                return Err(self.unexpected("LIKE, BETWEEN or IN"));
            } else {
                self.at = at;
                return Ok(left);
            };
        }
    }

    fn order(&mut self) -> Option<Order> {
        let Token::Symbol(symbol) = self.token() else {
            return None;
        };
        let order = match *symbol {
            "<" => Order::Less,
            "<=" => Order::LessOrEqual,
            ">" => Order::Greater,
            ">=" => Order::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(order)
    }

    fn ordered(&self, order: Order, left: Part, right: Part) -> Result<Part, PlacedFault> {
        orderable(&left)?;
        orderable(&right)?;
        let converts = self.converts;
        both(left, right, |left, right| Node::Order {
            order,
            sides: Box::new((left, right)),
            converts,
        })
    }

    fn like(&mut self, left: Part, is_negated: bool) -> Result<Part, PlacedFault> {
        let pattern = self.text()?;
        let mut escape = None;
        if self.take_keyword(Keyword::Escape) {
            let offset = self.offset();
            let text = self.text()?;
            let mut characters = text.chars();
            escape = characters.next();
            if escape.is_none_or(|c| c.len_utf16() > 1) || characters.next().is_some() {
                return Err((offset, Fault::Escape(text)));
            }
        }
        let pattern = LikePattern::new(&pattern, escape);
        let part = over(left, |node| Node::Like(Box::new(node), pattern))?;
        negated(part, is_negated)
    }

    /// `x BETWEEN a AND b` is `x >= a AND x <= b`; the negation is `x < a OR x > b`.
    fn between(&mut self, value: Part, is_negated: bool) -> Result<Part, PlacedFault> {
        let low = self.sum()?;
        if !self.take_keyword(Keyword::And) {
            return Err(self.unexpected("AND"));
        }
        let high = self.sum()?;
        let (below, above) = if is_negated {
            (Order::Less, Order::Greater)
        } else {
            (Order::GreaterOrEqual, Order::LessOrEqual)
        };
        let again = Part {
            node: value.node.clone(),
            ..value
        };
        let left = self.ordered(below, value, low)?;
        let right = self.ordered(above, again, high)?;
        both(left, right, |left, right| {
            let sides = vec![left, right];
            if is_negated {
                Node::Or(sides)
            } else {
                Node::And(sides)
            }
        })
    }

    fn one_of(&mut self, left: Part, is_negated: bool) -> Result<Part, PlacedFault> {
        self.expect_symbol("(", "`(`")?;
        let mut texts = vec![self.text()?];
        while self.take_symbol(",") {
            texts.push(self.text()?);
        }
        self.expect_symbol(")", "`,` or `)`")?;
        let Node::Field(field) = left.node else {
            return Err((left.offset, Fault::InWithoutProperty));
        };
        Ok(Part {
            node: Node::In {
                field,
                texts,
                is_negated,
            },
            ..left
        })
    }

    fn sum(&mut self) -> Result<Part, PlacedFault> {
        let mut left = self.product()?;
        loop {
            let operation = if self.take_symbol("+") {
                Arithmetic::Add
            } else if self.take_symbol("-") {
                Arithmetic::Subtract
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = computed(operation, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Part, PlacedFault> {
        let mut left = self.signed()?;
        loop {
            let operation = if self.take_symbol("*") {
                Arithmetic::Multiply
            } else if self.take_symbol("/") {
                Arithmetic::Divide
            } else if self.take_symbol("%") {
                Arithmetic::Remainder
            } else {
                return Ok(left);
            };
            let right = self.signed()?;
            left = computed(operation, left, right)?;
        }
    }

    fn signed(&mut self) -> Result<Part, PlacedFault> {
        if self.take_symbol("+") {
            return self.nested(Self::signed);
        }
        if self.take_symbol("-") {
            let part = self.nested(Self::signed)?;
            return over(part, |node| Node::Negate(Box::new(node)));
        }
        if self.take_keyword(Keyword::Not) {
            let part = self.nested(Self::signed)?;
            return over(condition(part)?, not);
        }
        let unsupported = match self.token() {
            Token::Keyword(Keyword::Xpath) => "XPATH",
            Token::Keyword(Keyword::Xquery) => "XQUERY",
            _ => return self.primary(),
        };
        Err((self.offset(), Fault::Unsupported(unsupported)))
    }

    fn primary(&mut self) -> Result<Part, PlacedFault> {
        let offset = self.offset();
        if self.take_symbol("(") {
            let inner = self.nested(Self::disjunction)?;
            self.expect_symbol(")", "an operator or `)`")?;
            return Ok(Part { offset, ..inner });
        }
        let node = match self.token() {
            Token::Identifier(name) => {
                let name = *name;
                self.at += 1;
                if self.take_symbol("(") {
                    return self.call(name, offset);
                }
                let node = Node::Field(Field::named(name));
                return Ok(Part {
                    node,
                    offset,
                    depth: 0,
                });
            }
            Token::Text(text) => Constant::Text(text.clone()),
            Token::Integer(value) => value.clone().into(),
            Token::Float(value) => Constant::Double(*value),
            Token::Keyword(Keyword::True) => Constant::Boolean(true),
            Token::Keyword(Keyword::False) => Constant::Boolean(false),
            Token::Keyword(Keyword::Null) => Constant::Null,
            _ => return Err(self.unexpected("a property, a value or `(`")),
        };
        self.at += 1;
        let node = Node::Constant(node);
        Ok(Part {
            node,
            offset,
            depth: 0,
        })
    }

    fn call(&mut self, name: &str, offset: usize) -> Result<Part, PlacedFault> {
        let mut arguments = Vec::new();
        let mut depth = 0;
        loop {
            let argument = self.nested(Self::signed)?;
            depth = depth.max(argument.depth);
            arguments.push(argument.node);
            if !self.take_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")", "`,` or `)`")?;
        let function = function(name, arguments.len()).map_err(|fault| (offset, fault))?;
        Ok(Part {
            node: Node::Call(function, arguments),
            offset,
            depth: deeper(offset, depth)?,
        })
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

fn negated(part: Part, is_negated: bool) -> Result<Part, PlacedFault> {
    if is_negated {
        over(part, not)
    } else {
        Ok(part)
    }
}

fn computed(operation: Arithmetic, left: Part, right: Part) -> Result<Part, PlacedFault> {
    both(left, right, |left, right| {
        Node::Arithmetic(operation, Box::new(left), Box::new(right))
    })
}

/// The names are the only words of a selector whose case counts.
fn function(name: &str, found: usize) -> Result<Function, Fault> {
    match name {
        "INLIST" if found == 2 => Ok(Function::InList),
        "INLIST" => Err(Fault::Arguments {
            name: "INLIST",
            wanted: "2",
            found,
        }),
        "MAKELIST" => Ok(Function::MakeList),
        "REGEX" => Err(Fault::Unsupported("REGEX")),
        "REPLACE" => Err(Fault::Unsupported("REPLACE")),
        "SPLIT" => Err(Fault::Unsupported("SPLIT")),
        _ => Err(Fault::NoSuchFunction(name.to_owned())),
    }
}
