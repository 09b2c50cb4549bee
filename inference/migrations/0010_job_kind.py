from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0009_managed_models")]

    operations = [
        migrations.AddField(
            model_name="inferencejob",
            name="kind",
            field=models.CharField(
                choices=[("generate", "generate"), ("embed", "embed")],
                default="generate",
                max_length=16,
            ),
        ),
    ]
