//! The AWS Query protocol's answer: a JSON value written as XML, lists as `<member>`, inside `<XxxResponse><XxxResult>`.

use std::io;

use quick_xml::{
    Writer,
    events::{BytesEnd, BytesStart, BytesText, Event},
};
use serde_json::{Value, json};

use super::{Service, refusal::Refusal};

type Out = Writer<Vec<u8>>;

/// The document of a call that succeeded.
///
/// # Errors
/// Never, in practice: the writer fills memory.
pub fn answer(service: Service, operation: &str, result: &Value, request_id: &str) -> io::Result<Vec<u8>> {
    document(&format!("{operation}Response"), service, |out| {
        element(out, &format!("{operation}Result"), result)?;
        element(out, "ResponseMetadata", &json!({ "RequestId": request_id }))
    })
}

/// The document of a call that was refused.
///
/// # Errors
/// Never, in practice: the writer fills memory.
pub fn error(service: Service, refusal: &Refusal, request_id: &str) -> io::Result<Vec<u8>> {
    let kind = if refusal.status >= 500 { "Receiver" } else { "Sender" };
    document("ErrorResponse", service, |out| {
        element(out, "Error", &json!({ "Type": kind, "Code": refusal.code, "Message": refusal.message }))?;
        element(out, "RequestId", &json!(request_id))
    })
}

fn document(root: &str, service: Service, fill: impl FnOnce(&mut Out) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut out = Writer::new(Vec::with_capacity(512));
    out.write_event(Event::Start(BytesStart::new(root).with_attributes([("xmlns", service.namespace())])))?;
    fill(&mut out)?;
    out.write_event(Event::End(BytesEnd::new(root)))?;
    Ok(out.into_inner())
}

fn element(out: &mut Out, name: &str, value: &Value) -> io::Result<()> {
    if value.is_null() {
        return Ok(());
    }
    out.write_event(Event::Start(BytesStart::new(name)))?;
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| element(out, key, value))?,
        Value::Array(items) => items.iter().try_for_each(|item| element(out, "member", item))?,
        Value::String(text) => out.write_event(Event::Text(BytesText::new(text)))?,
        other => out.write_event(Event::Text(BytesText::new(&other.to_string())))?,
    }
    out.write_event(Event::End(BytesEnd::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_elements_lists_members_and_nothing_is_left_out() {
        let value = json!({ "A": "1 < 2", "B": [1, true], "C": null });
        let xml = String::from_utf8(answer(Service::Elb, "Do", &value, "id").unwrap()).unwrap();
        assert!(xml.contains("<DoResult><A>1 &lt; 2</A><B><member>1</member><member>true</member></B></DoResult>"), "{xml}");
        assert!(xml.ends_with("<ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DoResponse>"), "{xml}");
    }
}
