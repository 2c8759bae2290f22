"""Acting on memory: schemes at work, actions, policies, and the service that runs them."""
