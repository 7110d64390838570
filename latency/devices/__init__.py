"""How the agent is started on a device, and who may use it when."""
