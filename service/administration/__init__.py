"""What an administrator may do over HTTP."""
