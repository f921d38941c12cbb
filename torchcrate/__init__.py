"""The machinery behind `./crate` and the Dockerfile. An update replaces this folder whole."""

VERSION = "0.1.0"
