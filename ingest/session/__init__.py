"""Messages of producers with acks in; whole batches, welcomes and acks out."""
