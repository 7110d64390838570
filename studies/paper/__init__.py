"""The paper's tables and pictures, on a device."""
