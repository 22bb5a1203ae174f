"""A log and a store in; the state of a run, its checkpoints and replays out."""
