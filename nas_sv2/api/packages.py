"""Exported networks, checked again."""

from nas_sv2.studies.package.verify import verify as verify
