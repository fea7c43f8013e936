//! JSON as the commands print it: one object a line, keys in the order in which they are given.
//!
//! Owns the punctuation and the escapes (RFC 8259, §7); refuses to read JSON, and to know what it is about.

use std::fmt::{Display, Write as _};

/// An object that is being written.
#[derive(Debug)]
pub struct Object {
    text: String,
}

/// The object that `fill` describes, on one line.
#[must_use]
pub fn object(fill: impl FnOnce(&mut Object)) -> String {
    let mut object = Object { text: String::from("{") };
    fill(&mut object);
    object.text.push('}');
    object.text
}

impl Object {
    /// A text.
    pub fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        write_text(&mut self.text, &value.to_string());
    }

    /// A number, or `true` and `false`: what JSON writes as Rust does.
    pub fn plain(&mut self, key: &str, value: impl Into<Plain>) {
        self.key(key);
        match value.into() {
            Plain::Number(number) => write!(self.text, "{number}"),
            Plain::Truth(truth) => write!(self.text, "{truth}"),
            Plain::Nothing => write!(self.text, "null"),
        }
        .expect("a string takes everything");
    }

    /// A list of numbers.
    pub fn plains(&mut self, key: &str, values: impl IntoIterator<Item = u64>) {
        self.key(key);
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        write!(self.text, "[{}]", values.join(",")).expect("a string takes everything");
    }

    /// A list of texts.
    pub fn texts<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        self.key(key);
        self.text.push('[');
        for (n, value) in values.into_iter().enumerate() {
            if n > 0 {
                self.text.push(',');
            }
            write_text(&mut self.text, &value.to_string());
        }
        self.text.push(']');
    }

    /// A list of objects, each as [`object`] makes it.
    pub fn objects(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        self.key(key);
        write!(self.text, "[{}]", values.join(",")).expect("a string takes everything");
    }

    /// An object inside this one.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object)) {
        self.key(key);
        self.text.push_str(&object(fill));
    }

    fn key(&mut self, key: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        write_text(&mut self.text, key);
        self.text.push(':');
    }
}

/// A value without quotes.
#[derive(Clone, Copy, Debug)]
pub enum Plain {
    /// A whole number.
    Number(u64),
    /// `true` or `false`.
    Truth(bool),
    /// `null`.
    Nothing,
}

impl From<u64> for Plain {
    fn from(number: u64) -> Plain {
        Plain::Number(number)
    }
}

impl From<usize> for Plain {
    fn from(number: usize) -> Plain {
        Plain::Number(number as u64)
    }
}

impl From<bool> for Plain {
    fn from(truth: bool) -> Plain {
        Plain::Truth(truth)
    }
}

impl<T: Into<Plain>> From<Option<T>> for Plain {
    fn from(value: Option<T>) -> Plain {
        value.map_or(Plain::Nothing, Into::into)
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_form_and_texts_are_escaped() {
        let text = object(|json| {
            json.text("a\"", "\\ \u{1}\n é");
            json.plain("n", 5_usize);
            json.plain("t", true);
            json.plain("none", None::<u64>);
            json.texts("l", ["x", "y"]);
            json.objects("o", [object(|_| {}), object(|json| json.plain("k", 1_u64))]);
            json.object("i", |json| json.texts("e", Vec::<String>::new()));
        });
        assert_eq!(
            text,
            r#"{"a\"":"\\ \u0001\u000a é","n":5,"t":true,"none":null,"l":["x","y"],"o":[{},{"k":1}],"i":{"e":[]}}"#
        );
    }
}
