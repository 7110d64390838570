"""The paper's tables and pictures, for another device."""
