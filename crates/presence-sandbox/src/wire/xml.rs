//! A stanza as XML text, for the journal.

use std::fmt::Write;

use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::node::{NodeContentRef, ValueRef};

/// How much text one stanza may become. An upload of 812 pre-keys would be 120 KiB that nobody reads;
/// beyond this, contents and elements are left out, with a comment in their place.
const MAX_TEXT: usize = 16 * 1024;

/// How many characters of an attribute's value are shown.
const MAX_VALUE: usize = 1024;

/// How many kinds of attributes are told to be JIDs, and how deep they are looked for.
const MAX_JIDS: usize = 16;
const MAX_DEPTH: usize = 8;

/// Renders `node`. Attributes keep their order on the wire; a content that is not printable text is shown
/// in hexadecimal digits.
pub(crate) fn to_xml(node: &NodeRef<'_>) -> String {
    let mut xml = String::with_capacity(128);
    element(node, &mut xml);
    xml
}

/// Which attributes of `node` and of what is in it are JIDs on the wire, as `tag.attribute`, each once. In the
/// text they look like any other.
pub(crate) fn jids(node: &NodeRef<'_>) -> Vec<String> {
    let mut found = Vec::new();
    collect_jids(node, 0, &mut found);
    found
}

fn collect_jids(node: &NodeRef<'_>, depth: usize, found: &mut Vec<String>) {
    for (key, value) in node.attrs_iter() {
        if found.len() >= MAX_JIDS {
            return;
        }
        if matches!(value, ValueRef::Jid(_)) {
            let mut path = String::new();
            name(&node.tag, &mut path);
            path.push('.');
            name(key, &mut path);
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    if depth < MAX_DEPTH {
        for child in node.children().unwrap_or_default() {
            collect_jids(child, depth + 1, found);
        }
    }
}

fn element(node: &NodeRef<'_>, xml: &mut String) {
    xml.push('<');
    name(&node.tag, xml);
    for (key, value) in node.attrs_iter() {
        xml.push(' ');
        name(key, xml);
        xml.push_str("=\"");
        attribute(&value.as_str(), xml);
        xml.push('"');
    }
    match node.content.as_ref() {
        None => return xml.push_str("/>"),
        Some(NodeContentRef::Nodes(children)) if children.is_empty() => return xml.push_str("/>"),
        Some(content) => {
            xml.push('>');
            inside(content, xml);
        }
    }
    xml.push_str("</");
    name(&node.tag, xml);
    xml.push('>');
}

fn inside(content: &NodeContentRef<'_>, xml: &mut String) {
    match content {
        NodeContentRef::String(text) => bounded(text.len(), xml, |xml| escape(text, xml)),
        NodeContentRef::Bytes(bytes) => match printable(bytes) {
            Some(text) => bounded(text.len(), xml, |xml| escape(text, xml)),
            None => bounded(2 * bytes.len(), xml, |xml| hex(bytes, xml)),
        },
        NodeContentRef::Nodes(children) => {
            for (at, child) in children.iter().enumerate() {
                if xml.len() > MAX_TEXT {
                    let _ = write!(xml, "<!-- {} more -->", children.len() - at);
                    return;
                }
                element(child, xml);
            }
        }
    }
}

/// A value longer than any honest one is cut short.
fn attribute(value: &str, xml: &mut String) {
    let end = value
        .char_indices()
        .nth(MAX_VALUE)
        .map_or(value.len(), |(at, _)| at);
    escape(&value[..end], xml);
    if end < value.len() {
        xml.push('…');
    }
}

fn bounded(length: usize, xml: &mut String, write: impl FnOnce(&mut String)) {
    if xml.len() + length > MAX_TEXT {
        let _ = write!(xml, "<!-- {length} characters -->");
    } else {
        write(xml);
    }
}

fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// A tag or an attribute name. A peer may send anything as one, so what could end the name is replaced.
fn name(text: &str, xml: &mut String) {
    let safe = |c: char| c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
    xml.extend(text.chars().take(256).map(|c| if safe(c) { c } else { '_' }));
}

fn escape(text: &str, xml: &mut String) {
    for c in text.chars() {
        match c {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            // XML 1.0 has no way to write most control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => xml.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => {
                let _ = write!(xml, "&#{};", u32::from(c));
            }
            c => xml.push(c),
        }
    }
}

fn hex(bytes: &[u8], xml: &mut String) {
    for byte in bytes {
        let _ = write!(xml, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::NodeBuilder;
    use whatsapp_rust::wacore_binary::Node;

    use super::*;

    fn xml(node: Node) -> String {
        to_xml(&node.as_node_ref())
    }

    #[test]
    fn a_stanza_reads_as_xml() {
        let composing = NodeBuilder::new("composing").attr("media", "audio").build();
        let chatstate = NodeBuilder::new("chatstate")
            .attr("to", "5511988887777@s.whatsapp.net")
            .children([composing]);
        assert_eq!(
            xml(chatstate.build()),
            r#"<chatstate to="5511988887777@s.whatsapp.net"><composing media="audio"/></chatstate>"#
        );
    }

    #[test]
    fn nothing_a_peer_sends_can_break_out_of_its_place() {
        let node = NodeBuilder::new_dynamic("a><b".to_owned())
            .attr("name", "\"><evil a=\"&\n\u{1}")
            .string_content("</a>")
            .build();
        assert_eq!(
            xml(node),
            "<a__b name=\"&quot;&gt;&lt;evil a=&quot;&amp;&#10;\u{fffd}\">&lt;/a&gt;</a__b>"
        );
    }

    #[test]
    fn a_jid_on_the_wire_is_told_from_a_text_that_looks_like_one() {
        let jid: whatsapp_rust::Jid = "5511988887777@s.whatsapp.net".parse().unwrap();
        let user = || NodeBuilder::new("user").attr("jid", &jid).build();
        let node = NodeBuilder::new("iq")
            .attr("to", "s.whatsapp.net")
            .attr("from", &jid)
            .children([user(), user()])
            .build();
        assert_eq!(jids(&node.as_node_ref()), ["iq.from", "user.jid"]);
    }

    #[test]
    fn bytes_are_text_when_they_are_and_digits_when_not() {
        assert_eq!(
            xml(NodeBuilder::new("a").bytes(b"+55".to_vec()).build()),
            "<a>+55</a>"
        );
        assert_eq!(
            xml(NodeBuilder::new("a").bytes(vec![0, 0xff]).build()),
            "<a>00ff</a>"
        );
        assert_eq!(xml(NodeBuilder::new("a").bytes(Vec::new()).build()), "<a></a>");
    }

    #[test]
    fn a_huge_stanza_stays_well_formed_and_short() {
        let key = || NodeBuilder::new("key").bytes(vec![0; 32]).build();
        let text = xml(NodeBuilder::new("list")
            .children((0..1000).map(|_| key()))
            .build());
        assert!(text.len() < MAX_TEXT + 300, "{}", text.len());
        assert!(text.ends_with(" more --></list>"), "{}", &text[text.len() - 40..]);
        let value = xml(NodeBuilder::new("a").attr("b", "é".repeat(5000)).build());
        assert_eq!(value.chars().count(), MAX_VALUE + "<a b=\"…\"/>".chars().count());
        assert_eq!(
            xml(NodeBuilder::new("a").bytes(vec![0; 9000]).build()),
            "<a><!-- 18000 characters --></a>"
        );
    }
}
