"""How the table of an emulated core is made."""
