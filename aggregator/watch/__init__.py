"""What each Watch stream still has to send."""
