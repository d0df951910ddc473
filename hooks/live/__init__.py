"""Recording while other people's code runs the model: `record(model)`, and the callback of a trainer."""
