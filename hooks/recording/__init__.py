"""The hooks themselves: what they see is changed by interventions and collected by sinks."""
