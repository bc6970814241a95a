"""The declared stream on which trends are measured, the same for every detector, and what comes out. Pure."""
