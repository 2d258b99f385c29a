"""Networks and training: model zoo, teacher loading, methods, trainer, evaluation."""
