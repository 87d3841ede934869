"""What the services need of the outside, as protocols. Adapters implement them, contract tests hold them."""
