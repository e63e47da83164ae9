"""Files of tensors and their names: headers first, tensors on demand, naming tables. Knows no model and no job."""
