"""From a specification to instances that answer."""
