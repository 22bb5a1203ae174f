"""Hold one live client, whichever way it came: who it is, how fast it reads and speaks."""
