"""What licences allow, and whether a source's licence and consent fit the intended use."""
