//! Answers. Each repeats the number of the command that it answers.

use super::{Command, ObjectArray, Throwable};
use crate::codec::data_type;

data_type! {
    /// Done, with nothing more to say.
    pub struct Response = 30 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The number of the command answered.
        correlation_id: i32, since 1;
    }
}

data_type! {
    /// Refused or failed.
    pub struct ExceptionResponse = 31 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The number of the command answered.
        correlation_id: i32, since 1;
        /// What went wrong.
        exception: Option<Throwable>, since 1;
    }
}

data_type! {
    /// Done, with an object. Clients do not use it.
    pub struct DataResponse = 32 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The number of the command answered.
        correlation_id: i32, since 1;
        /// The object.
        data: Option<Box<Command>>, since 1;
    }
}

data_type! {
    /// Done, with objects: the prepared transactions that a recovery asks for.
    pub struct DataArrayResponse = 33 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The number of the command answered.
        correlation_id: i32, since 1;
        /// The objects.
        data: ObjectArray<Command>, since 1;
    }
}

data_type! {
    /// Done, with a number: 0 prepared, 3 nothing to commit.
    pub struct IntegerResponse = 34 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The number of the command answered.
        correlation_id: i32, since 1;
        /// The number.
        result: i32, since 1;
    }
}

impl Response {
    /// The plain answer to the command with this number.
    #[must_use]
    pub fn to(correlation_id: i32) -> Self {
        Response {
            correlation_id,
            ..Response::default()
        }
    }
}

impl ExceptionResponse {
    /// The refusal of the command with this number.
    #[must_use]
    pub fn to(correlation_id: i32, exception: Throwable) -> Self {
        ExceptionResponse {
            correlation_id,
            exception: Some(exception),
            ..ExceptionResponse::default()
        }
    }
}
