"""Markdown and pictures that several pages share."""
