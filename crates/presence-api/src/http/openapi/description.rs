//! What is said of an operation, and how that becomes one of OpenAPI.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, Ref, RefOr, Required};

use super::headers::{self, AnswerHeader};
use super::refusals::{by_status, in_camel_case, refusal};
use super::section::Section;
use crate::error::{ApiError, ErrorBody};
use crate::json::Success;
use crate::rate_limit::Standing;
use crate::routes::Route;
use crate::schema;

const JSON: &str = "application/json";

/// What operations name and do not hold themselves.
#[derive(Default)]
pub(super) struct Named {
    pub(super) schemas: BTreeMap<String, RefOr<Schema>>,
    /// Refusals for one reason alone, by its words.
    pub(super) refusals: BTreeMap<String, Response>,
}

/// Either way to send a token.
pub(super) fn any_token() -> [SecurityRequirement; 2] {
    ["token", "bearer"].map(|scheme| SecurityRequirement::new::<_, [&str; 0], _>(scheme, []))
}

/// An operation, in terms of its handler.
pub(super) struct Description {
    section: Section,
    operation: OperationBuilder,
    needs_token: bool,
    answers: Vec<(u16, ResponseBuilder)>,
    refusals: Vec<ApiError>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Description {
    pub(super) fn new(section: Section, id: &str, summary: &str, about: &str) -> Self {
        Self {
            section,
            operation: OperationBuilder::new()
                .operation_id(Some(id))
                .tag(section.name())
                .summary(Some(summary))
                .description(Some(about)),
            needs_token: false,
            answers: Vec::new(),
            refusals: Vec::new(),
            schemas: Vec::new(),
        }
        .naming::<ErrorBody>()
        // Whatever the route: the head of the request, or its body, comes too late.
        .refuses([ApiError::BodyTimeout])
    }

    /// It needs a token; and it may be refused for that, and while the service starts or stops.
    pub(super) fn with_token(mut self) -> Self {
        self.needs_token = true;
        self.refuses([
            ApiError::InvalidToken,
            ApiError::RateLimited(Standing::default()),
            ApiError::internal("", None),
            ApiError::Starting,
            ApiError::Stopping,
            ApiError::OutOfReach,
            ApiError::DatabaseAway,
        ])
    }

    /// It needs a token that reaches the instance that the path names.
    pub(super) fn of_instance(self) -> Self {
        let refused = [ApiError::OtherInstance, ApiError::NoSuchInstance];
        self.with_token().named_instance().refuses(refused)
    }

    /// The path names an instance.
    pub(super) fn named_instance(self) -> Self {
        let instance = ParameterBuilder::new()
            .name("instance")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The name of the instance."))
            .schema(Some(schema::instance_name()));
        self.parameter(instance)
    }

    /// It reads a parameter of the query, or a header.
    pub(super) fn reads(self, place: ParameterIn, name: &str, about: &str) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(schema::text(about)));
        self.parameter(parameter)
    }

    fn parameter(mut self, parameter: impl Into<Parameter>) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// It takes a body, such as `example`.
    pub(super) fn takes<T: ToSchema>(self, example: Value) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(T::name())))
            .example(Some(example));
        self.naming::<T>().takes_content(content.build())
    }

    /// It takes a body, which no schema of ours describes.
    pub(super) fn takes_content(mut self, content: Content) -> Self {
        let body = RequestBodyBuilder::new()
            .required(Some(Required::True))
            .content(JSON, content)
            .build();
        self.operation = self.operation.request_body(Some(body));
        self.refuses([
            ApiError::InvalidBody("body: a JSON object is needed".into()),
            ApiError::BodyTooLarge,
        ])
    }

    /// It answers this, around which is the envelope of a success.
    pub(super) fn succeeds<T: ToSchema>(self, status: u16, about: &str) -> Self {
        self.answers::<Success<'_, T>>(status, about)
    }

    /// It answers this, whole.
    pub(super) fn answers<T: ToSchema>(self, status: u16, about: &str) -> Self {
        let content = Content::new(Some(Ref::from_schema_name(T::name())));
        self.naming::<T>().answers_content(status, about, JSON, content)
    }

    /// It answers a success by the name of `name`, with the fields of `schema`.
    pub(super) fn succeeds_as(
        mut self,
        status: u16,
        about: &str,
        name: &str,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        self = self.naming_as(name, schema::success_with(schema.into()));
        let content = Content::new(Some(Ref::from_schema_name(name)));
        self.answers_content(status, about, JSON, content)
    }

    pub(super) fn answers_content(
        mut self,
        status: u16,
        about: &str,
        kind: &str,
        content: impl Into<Content>,
    ) -> Self {
        let answer = ResponseBuilder::new().description(about).content(kind, content);
        self.answers.push((status, answer));
        self
    }

    /// It answers without a body.
    pub(super) fn answers_nothing(mut self, status: u16, about: &str) -> Self {
        self.answers
            .push((status, ResponseBuilder::new().description(about)));
        self
    }

    /// The answer that was described last has this header too.
    pub(super) fn with_header(mut self, header: &AnswerHeader) -> Self {
        let last = self.answers.pop();
        self.answers
            .extend(last.map(|(status, answer)| (status, header.add_to(answer))));
        self
    }

    /// It may answer these errors.
    pub(super) fn refuses(mut self, errors: impl IntoIterator<Item = ApiError>) -> Self {
        self.refusals.extend(errors);
        self
    }

    /// Something in it is named by a reference.
    pub(super) fn naming<T: ToSchema>(self) -> Self {
        let mut described = self.naming_as(&T::name(), T::schema());
        T::schemas(&mut described.schemas);
        described
    }

    pub(super) fn naming_as(mut self, name: &str, schema: RefOr<Schema>) -> Self {
        self.schemas.push((name.to_owned(), schema));
        self
    }

    /// The operation; what it names goes into `named`.
    pub(super) fn into_operation(self, route: &Route, named: &mut Named) -> Operation {
        debug_assert_eq!(
            self.needs_token,
            !matches!(self.section, Section::Service),
            "{}",
            route.label
        );
        named.schemas.extend(self.schemas);
        let mut operation = self.operation;
        if !self.needs_token {
            operation = operation.securities(Some([]));
        }
        let finish = |answer: ResponseBuilder| {
            let answer = headers::REQUEST_ID.add_to(answer);
            match self.needs_token {
                true => {
                    let limits = headers::RATE_LIMIT.iter();
                    limits.fold(answer, |answer, header| header.add_to(answer))
                }
                false => answer,
            }
        };
        for (status, answer) in self.answers {
            operation = operation.response(status.to_string(), finish(answer).build());
        }
        for (status, texts) in by_status(&self.refusals) {
            let refusal = refusal(status, &texts, finish);
            operation = match texts.as_slice() {
                [text] if self.needs_token => {
                    let name = in_camel_case(text);
                    let reference = Ref::from_response_name(&name);
                    named.refusals.insert(name, refusal);
                    operation.response(status.as_str(), reference)
                }
                _ => operation.response(status.as_str(), refusal),
            };
        }
        operation.build()
    }
}
